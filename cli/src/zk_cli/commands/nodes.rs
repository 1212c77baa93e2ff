//! Nodes, made and read.

use super::super::client::{Client, CreateMode, Failure, open_acl};
use super::super::words::Parsed;
use super::super::{base64, print};
use super::{Outcome, acl, version};
use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use wire::zk::err;

/// The largest that fits the owner field of a TTL node.
const TTL_MAX: i64 = 0xff_ffff_ffff;

pub fn create(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let mode = create_mode(parsed)?;
    let path = &parsed.args[1];
    let data = parsed.args.get(2).map(|data| Bytes::copy_from_slice(data.as_bytes()));
    let acl = parsed.args.get(3).map_or_else(open_acl, |text| acl::parse(text));
    match client.create(path, data, acl, mode) {
        Ok(made) => {
            eprintln!("Created {made}");
            Ok(())
        }
        Err(failure) => {
            if failure.is(err::EPHEMERAL_ON_LOCAL_SESSION) {
                eprintln!("Unable to create ephemeral node on a local session");
            } else if failure.is(err::INVALID_ACL) {
                eprintln!("{}", failure.plain());
            }
            Err(failure.into())
        }
    }
}

fn create_mode(parsed: &Parsed) -> Result<CreateMode, Outcome> {
    let (ephemeral, sequential, container) = (parsed.has('e'), parsed.has('s'), parsed.has('c'));
    let refused = |why: &str| Err(Outcome::failed(why));
    if container && (ephemeral || sequential) {
        return refused("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.");
    }
    let Some(ttl) = parsed.value('t') else {
        return Ok(CreateMode { ephemeral, sequential, container, ttl: None });
    };
    let Ok(ttl) = ttl.parse::<i64>() else { return refused("-t argument must be a long value") };
    if ephemeral {
        return refused("TTLs cannot be used with Ephemeral znodes");
    }
    if container {
        return refused("TTLs cannot be used with Container znodes");
    }
    if !(1..=TTL_MAX).contains(&ttl) {
        return refused(&format!("ttl must be positive and cannot be larger than: {TTL_MAX}"));
    }
    Ok(CreateMode { ephemeral, sequential, container, ttl: Some(ttl) })
}

pub fn get(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let reply = client.get_data(&parsed.args[1], parsed.has('w'))?;
    let data = reply.data.unwrap_or(Bytes::from_static(b"null"));
    println!(
        "{}",
        match (parsed.has('x'), parsed.has('b')) {
            (true, _) => print::hex_dump(&data),
            (false, true) => STANDARD.encode(&data),
            _ => String::from_utf8_lossy(&data).into_owned(),
        }
    );
    if parsed.has('s') {
        println!("{}", print::stat(&reply.stat));
    }
    Ok(())
}

pub fn set(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let text = &parsed.args[2];
    let data = match parsed.has('b') {
        true => base64::decode(text).map_err(|why| Outcome::thrown("IllegalArgumentException", &why))?,
        false => text.as_bytes().to_vec(),
    };
    let stat = client.set_data(&parsed.args[1], Some(data.into()), version(parsed)?)?;
    if parsed.has('s') {
        println!("{}", print::stat(&stat));
    }
    Ok(())
}

pub fn stat(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let path = &parsed.args[1];
    let stat = client.exists(path, parsed.has('w'))?;
    let missing = Failure::Keeper { code: err::NO_NODE, path: Some(path.clone()) };
    println!("{}", print::stat(&stat.ok_or(missing)?));
    Ok(())
}

pub fn ls(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    if parsed.has('?') {
        println!("usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n -w   watch");
    }
    let Some(path) = parsed.args.get(1) else { return Err(Outcome::failed("ls [-s] [-w] [-R] path")) };
    if parsed.has('R') {
        return visit(client, path, parsed.has('w'), &mut |path| println!("{path}")).map_err(Outcome::from);
    }
    let (names, stat) = client.children(path, parsed.has('w'))?;
    println!("{}", print::list(&names));
    if parsed.has('s') {
        println!("{}", print::stat(&stat));
    }
    Ok(())
}

/// A node, then all its children, then what is below each of them.
pub fn visit(
    client: &Client,
    path: &str,
    watch: bool,
    on_node: &mut impl FnMut(&str),
) -> Result<(), Failure> {
    client.get_data(path, watch)?;
    on_node(path);
    let mut below = vec![path.to_owned()];
    while let Some(path) = below.pop() {
        let names = match client.children(&path, watch) {
            Ok((names, _)) => names,
            // Gone since it was listed.
            Err(failure) if failure.is(err::NO_NODE) => continue,
            Err(failure) => return Err(failure),
        };
        let children: Vec<String> =
            names.iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))).collect();
        children.iter().for_each(|child| on_node(child));
        below.extend(children.into_iter().rev());
    }
    Ok(())
}

pub fn all_children_number(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    println!("{}", client.all_children_number(&parsed.args[1])?);
    Ok(())
}

pub fn ephemerals(client: &Client, parsed: &Parsed) -> Result<(), Outcome> {
    let prefix = parsed.args.get(1).map_or("/", String::as_str);
    println!("{}", print::list(&client.ephemerals(prefix)?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::words;
    use super::*;

    fn mode(line: &str) -> Result<CreateMode, String> {
        create_mode(&words::parse("esct:", &words::split(line)).unwrap()).map_err(|outcome| outcome.text)
    }

    #[test]
    fn options_that_exclude_each_other_are_told() {
        assert!(mode("create -e -s /a").unwrap().sequential);
        assert_eq!(mode("create -t 5 /a").unwrap().ttl, Some(5));
        assert!(mode("create -c -e /a").unwrap_err().starts_with("-c cannot be combined with -s or -e."));
        assert_eq!(mode("create -t x /a").unwrap_err(), "-t argument must be a long value");
        assert_eq!(mode("create -e -t 1 /a").unwrap_err(), "TTLs cannot be used with Ephemeral znodes");
        assert_eq!(mode("create -c -t 1 /a").unwrap_err(), "TTLs cannot be used with Container znodes");
        assert_eq!(
            mode("create -t 0 /a").unwrap_err(),
            "ttl must be positive and cannot be larger than: 1099511627775"
        );
    }
}
