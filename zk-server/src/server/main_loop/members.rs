//! The shell's side of a change of members: files, addresses, and the ports that are this server's own.

use super::Loop;
use crate::config::Config;
use crate::members_file::{MembersFile, MembersFileError};
use crate::net::endpoint::Endpoint;
use crate::server::Exit;
use crate::{election_net, quorum_net};
use std::sync::Arc;
use tracing::error;
use zk_core::Ensemble;

impl Loop {
    pub(super) fn store_proposed(&mut self, members: Option<Box<Ensemble>>) {
        let stored = self.members_file().store_proposed(members.as_deref());
        self.or_exit(stored);
        self.proposed = members;
        self.tell_nets();
    }

    pub(super) fn activate(&mut self, members: Ensemble) {
        let stored = self.members_file().activate(&members);
        self.or_exit(stored);
        if self.proposed.as_ref().is_some_and(|proposed| proposed.version <= members.version) {
            self.proposed = None;
        }
        let config = Arc::make_mut(&mut self.config);
        let own = members.members.get(&config.core.myid).and_then(|own| own.client.clone());
        let moved = own.filter(|at| config.client.as_ref() != Some(at));
        config.members = members.members.clone();
        config.core.ensemble = Some(members);
        self.tell_nets();
        if let Some(at) = moved {
            Arc::make_mut(&mut self.config).client = Some(at.clone());
            self.move_client_port((&at).into());
        }
    }

    fn members_file(&self) -> MembersFile {
        MembersFile::new(&self.config.file, self.config.core.myid)
    }

    /// With members that are not on disk, the next start would count with others.
    fn or_exit(&mut self, stored: Result<(), MembersFileError>) {
        if let Err(error) = stored {
            error!("{error}");
            self.exit = Some(Exit { code: 1, why: error.to_string() });
        }
    }

    /// Votes go to those who are on their way, too.
    fn tell_nets(&mut self) {
        let mut config = Config::clone(&self.config);
        if let Some(election) = &self.election {
            let mut members = election_net::Settings::from(&config).members;
            if let Some(proposed) = &self.proposed {
                config.members = proposed.members.clone();
                for (sid, addresses) in election_net::Settings::from(&config).members {
                    let known = members.entry(sid).or_default();
                    let new = |at: &Endpoint| !known.contains(at);
                    let new: Vec<Endpoint> = addresses.into_iter().filter(new).collect();
                    known.extend(new);
                }
            }
            election.follow(members);
        }
        if let Some(quorum) = &mut self.quorum {
            let mut config = Config::clone(&self.config);
            if let Some(proposed) = &self.proposed {
                for (sid, member) in &proposed.members {
                    config.members.entry(*sid).or_insert_with(|| member.clone());
                }
            }
            quorum.follow(quorum_net::Settings::from(&config));
        }
    }

    /// As Java's servers do: the old port closes first, connections stay, and a new port that cannot be opened is told.
    fn move_client_port(&mut self, at: Endpoint) {
        let moved = match &mut self.client_port {
            Some(port) => port.rebind(at),
            None => return error!("There is no client port that could move to {at}: set one and restart"),
        };
        if let Err((at, why)) = moved {
            error!("Error reconfiguring client port to {at} {why}");
        }
    }
}
