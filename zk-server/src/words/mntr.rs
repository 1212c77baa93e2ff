//! `mntr`: a line for each figure, `zk_<key>\t<value>`.

use super::{VERSION, View, mode_name, peer_state};
use crate::metrics;
use std::fmt::{Display, Write};
use zk_core::peer::Status;

pub(super) fn mntr(view: &View, status: &Status, to: &mut String) {
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(to, "zk_{key}\t{value}");
    };
    line("version", &VERSION);
    line("server_state", &mode_name(status));
    if let Some(doing) = peer_state(status) {
        line("peer_state", &doing);
    }
    if let Some(master) = status.observer_master {
        line("observer_master_id", &master);
    }
    for (name, number) in metrics::named(view) {
        line(&name, &number);
    }
}
