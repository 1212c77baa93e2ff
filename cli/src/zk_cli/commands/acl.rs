//! Who may do what.

use super::super::client::Client;
use super::super::print;
use super::super::words::Parsed;
use super::{Outcome, nodes, version};
use bytes::Bytes;
use std::io::Write;
use wire::zk::{Acl, Id, perm};

/// `scheme:id:perms,...`; items that have another form are told and left out.
pub fn parse(text: &str) -> Vec<Acl> {
    let item = |item: &str| {
        let parts = item.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, perms))) = parts else {
            eprintln!("{item} does not have the form scheme:id:perm");
            return None;
        };
        Some(Acl { perms: parse_perms(perms), id: Id { scheme: scheme.into(), id: id.into() } })
    };
    text.split(',').filter_map(item).collect()
}

fn parse_perms(letters: &str) -> i32 {
    let bit = |letter: char| match letter {
        'r' => perm::READ,
        'w' => perm::WRITE,
        'c' => perm::CREATE,
        'd' => perm::DELETE,
        'a' => perm::ADMIN,
        other => {
            eprintln!("Unknown perm type: {other}");
            0
        }
    };
    letters.chars().map(bit).fold(0, |perms, bit| perms | bit)
}

pub fn add_auth(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let auth = parsed.args.get(2).map(|auth| Bytes::copy_from_slice(auth.as_bytes()));
    client.add_auth(&parsed.args[1], auth);
    Ok(())
}

pub fn get_acl(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let reply = client.get_acl(&parsed.args[1])?;
    reply.acl.iter().for_each(|acl| println!("{}", print::acl(acl)));
    if parsed.has('s') {
        println!("{}", print::stat(&reply.stat));
    }
    Ok(())
}

pub fn set_acl(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let (path, acl, version) = (&parsed.args[1], parse(&parsed.args[2]), version(parsed)?);
    if parsed.has('R') {
        nodes::visit(client, path, false, &mut |path| {
            if let Err(failure) = client.set_acl(path, acl.clone(), version) {
                print!("{}", failure.plain());
                let _ = std::io::stdout().flush();
            }
        })?;
        return Ok(());
    }
    let stat = client.set_acl(path, acl, version)?;
    if parsed.has('s') {
        println!("{}", print::stat(&stat));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_is_split_at_the_first_and_last_colon() {
        let acl = parse("digest:bob:hash=:cdrwa,world:anyone:r,nonsense,ip:10.0.0.0/8:x");
        let shown: Vec<_> = acl.iter().map(|acl| (&*acl.id.scheme, &*acl.id.id, acl.perms)).collect();
        assert_eq!(shown, [("digest", "bob:hash=", 31), ("world", "anyone", 1), ("ip", "10.0.0.0/8", 0)]);
    }
}
