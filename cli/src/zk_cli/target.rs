//! `host:port,host:port/chroot`, and which paths a node may have.

/// A parsed connect string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub servers: Vec<(String, u16)>,
    /// Put before every path; empty for none.
    pub chroot: String,
}

impl Target {
    /// The error is what is wrong with the text.
    pub fn parse(text: &str) -> Result<Target, String> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            validate_path(chroot)?;
        }
        let servers: Vec<_> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(server)
            .collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err("A HostProvider may not be empty!".into());
        }
        Ok(Target { servers, chroot: chroot.into() })
    }

    /// The server's path of a node.
    pub fn full(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            ("", path) => path.into(),
            (chroot, "/") => chroot.into(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// The reverse; paths outside the chroot stay as they are.
    pub fn short<'a>(&self, full: &'a str) -> &'a str {
        match full.strip_prefix(&self.chroot) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => full,
        }
    }
}

fn server(text: &str) -> Result<(String, u16), String> {
    const PORT: u16 = 2181;
    let port = |port: &str| port.parse().map_err(|_| format!("`{text}`: a port is a number from 0 to 65535"));
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(given) => Ok((host.into(), port(given)?)),
            None => Ok((host.into(), PORT)),
        };
    }
    match text.split_once(':') {
        Some((host, given)) if !given.contains(':') => Ok((host.into(), port(given)?)),
        // Two colons: an IPv6 address without brackets, and so without a port.
        _ => Ok((text.into(), PORT)),
    }
}

/// The reason why a path cannot be a node's, in the Java client's words.
pub fn validate_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("Path length must be > 0".into());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".into());
    }
    if path.len() > 1 && path.ends_with('/') {
        return Err("Path must not end with / character".into());
    }
    let chars: Vec<char> = path.chars().collect();
    for (at, c) in chars.iter().enumerate().skip(1) {
        let ends = chars.get(at + 1).is_none_or(|next| *next == '/');
        let reason = match c {
            '\0' => "null character not allowed",
            '/' if chars[at - 1] == '/' => "empty node name specified",
            '.' if ends && chars[at - 1] == '/' => "relative paths not allowed",
            '.' if ends && chars[at - 1] == '.' && chars[at - 2] == '/' => "relative paths not allowed",
            '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' => {
                "invalid character"
            }
            _ => continue,
        };
        return Err(format!("Invalid path string \"{path}\" caused by {reason} @{at}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_default_port_and_share_a_chroot() {
        let target = Target::parse("a,b:1,[::1]:2,::1/app/x").unwrap();
        let wanted = [("a", 2181), ("b", 1), ("::1", 2), ("::1", 2181)];
        assert_eq!(target.servers, wanted.map(|(host, port)| (host.to_string(), port)));
        assert_eq!((target.full("/").as_str(), target.full("/n").as_str()), ("/app/x", "/app/x/n"));
        assert_eq!(
            (target.short("/app/x"), target.short("/app/x/n"), target.short("/app/xy")),
            ("/", "/n", "/app/xy")
        );
        assert_eq!(Target::parse("a/").unwrap().full("/n"), "/n");
        assert!(Target::parse("a:port").is_err() && Target::parse("").is_err());
    }

    #[test]
    fn a_wrong_path_is_told_why() {
        let why = |path: &str| validate_path(path).unwrap_err();
        assert_eq!(why("x"), "Path must start with / character");
        assert_eq!(why("/x/"), "Path must not end with / character");
        assert_eq!(why("/a//b"), "Invalid path string \"/a//b\" caused by empty node name specified @3");
        assert_eq!(why("/a/../b"), "Invalid path string \"/a/../b\" caused by relative paths not allowed @4");
        assert_eq!(why("/a/."), "Invalid path string \"/a/.\" caused by relative paths not allowed @3");
        assert_eq!(why("/a\u{1}"), "Invalid path string \"/a\u{1}\" caused by invalid character @2");
        assert!(validate_path("/").is_ok() && validate_path("/a.b/..c").is_ok());
    }
}
