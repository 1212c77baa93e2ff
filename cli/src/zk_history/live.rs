//! The live tree over a connection: read as an image, and changed step by step.

use super::image::{self, Image, Kind, NodeImage};
use super::plan::Step;
use crate::zk_cli::client::{Client, CreateMode, Failure, Part};
use crate::zk_cli::target::Target;
use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use std::time::Duration;
use wire::zk::err;

const SESSION_MS: i32 = 30_000;

pub struct Live {
    client: Client,
}

impl Live {
    /// `auths` are `SCHEME:AUTH`.
    pub fn connect<'a>(server: &str, auths: impl Iterator<Item = &'a str>) -> Result<Live> {
        let target = Target::parse(server).map_err(|wrong| anyhow!("--server {server}: {wrong}"))?;
        let client = Client::start(target, Default::default(), SESSION_MS, false, |_| {});
        if !client.wait_connected(Duration::from_millis(SESSION_MS as u64)) {
            bail!("no server answers at {server}");
        }
        for auth in auths {
            let (scheme, auth) =
                auth.split_once(':').ok_or_else(|| anyhow!("--auth {auth}: write SCHEME:AUTH"))?;
            client.add_auth(scheme, Some(Bytes::copy_from_slice(auth.as_bytes())));
        }
        Ok(Live { client })
    }

    /// Everything at and below `root` but ZooKeeper's own nodes. A node that goes while it is read is not in it.
    pub fn image(&self, root: &str) -> Result<Image> {
        // What others have written before now is in it.
        self.client.sync("/").map_err(told)?;
        let mut image = Image::new();
        let mut below = vec![root.to_owned()];
        while let Some(path) = below.pop() {
            if image::is_own(&path) {
                continue;
            }
            match self.node(&path) {
                Ok((node, names)) => {
                    below.extend(names.iter().map(|name| image::child(&path, name)));
                    image.insert(path, node);
                }
                Err(failure) if failure.is(err::NO_NODE) => {}
                Err(failure) if failure.is(err::NO_AUTH) => {
                    bail!("{failure}: write --auth SCHEME:AUTH of one who may read it")
                }
                Err(failure) => return Err(told(failure)),
            }
        }
        Ok(image)
    }

    fn node(&self, path: &str) -> Result<(NodeImage, Vec<String>), Failure> {
        let data = self.client.get_data(path, false)?;
        let acl = self.client.get_acl(path)?;
        let (names, _) = self.client.children(path, false)?;
        let kind = match data.stat.ephemeral_owner {
            0 => Kind::Persistent,
            session => Kind::Ephemeral(session),
        };
        // The data's own version: a change between the two reads is refused when the version is checked.
        let (version, aversion) = (data.stat.version, acl.stat.aversion);
        Ok((NodeImage { data: data.data, acl: acl.acl, version, aversion, kind }, names))
    }

    /// All of the steps or none.
    pub fn take(&self, steps: &[Step]) -> Result<()> {
        if let [Step::SetAcl { path, acl, aversion }] = steps {
            return self.client.set_acl(path, acl.clone(), *aversion).map(drop).map_err(told);
        }
        let parts = steps.iter().map(part).collect::<Result<Vec<_>>>()?;
        self.client.together(&parts).map_err(told)
    }

    pub fn close(&self) {
        self.client.close();
    }
}

fn told(failure: Failure) -> anyhow::Error {
    anyhow!("{failure}")
}

fn part(step: &Step) -> Result<Part> {
    Ok(match step.clone() {
        Step::Create { path, data, acl, kind } => {
            let mode = CreateMode::PERSISTENT;
            let mode = match kind {
                Kind::Container => CreateMode { container: true, ..mode },
                Kind::Ttl(ttl) => CreateMode { ttl: Some(ttl), ..mode },
                Kind::Persistent => mode,
                Kind::Ephemeral(_) => bail!("{path}: an ephemeral node cannot be brought back"),
            };
            Part::Create { path, data, acl, mode }
        }
        Step::SetData { path, data, version } => Part::SetData { path, data, version },
        Step::Delete { path, version } => Part::Delete { path, version },
        Step::SetAcl { path, .. } => bail!("{path}: an ACL cannot be set together with other changes"),
    })
}
