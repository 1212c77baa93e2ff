//! Who a connection is: authentication by scheme and by SASL, and what ACLs make of it.

use super::*;

#[test]
fn auth_answers_with_zxid_zero_and_a_refusal_ends_the_connection() {
    let mut rig = Rig::new();
    rig.session(1);
    let auth = |scheme: &str, text: &'static str| AuthRequest {
        kind: 0,
        scheme: scheme.into(),
        auth: Some(Bytes::from_static(text.as_bytes())),
    };
    rig.request(1, xid::AUTH, op::AUTH, auth("digest", "bob:pw"));
    rig.request(1, xid::AUTH, op::AUTH, auth("digest", "super:adminpw"));
    for frame in rig.sent(1) {
        assert_eq!(split(&frame), (ReplyHeader { xid: xid::AUTH, zxid: 0, err: 0 }, Bytes::new()));
    }
    let (_, body) = rig.ask(1, op::WHO_AM_I, ());
    let ids: Vec<_> = WhoAmIResponse::decode(&body).unwrap().ids;
    let ids: Vec<_> = ids.iter().map(|id| (&*id.scheme, &*id.user)).collect();
    assert_eq!(ids, [("ip", "127.0.0.1"), ("digest", "bob"), ("super", ""), ("digest", "super")]);
    rig.request(1, xid::AUTH, op::AUTH, auth("world", "anyone"));
    assert_eq!(split(&rig.sent(1)[0]).0, ReplyHeader { xid: xid::AUTH, zxid: 0, err: err::AUTH_FAILED });
    assert!(rig.closed(1));
}

#[test]
fn who_has_no_id_of_an_enforced_scheme_is_told_so_and_sent_away() {
    let rules = AuthRules { enforced: vec!["digest".into()], ..AuthRules::default() };
    let mut rig = Rig::with(&crate::CoreConfig { auth: rules, ..standalone() });
    rig.session(1);
    rig.request(1, xid::PING, op::PING, ());
    let told = ReplyHeader { xid: xid::PING, zxid: 0, err: err::SESSION_CLOSED_REQUIRE_SASL_AUTH };
    assert_eq!(split(&rig.sent(1)[0]).0, told);
    assert!(rig.closed(1));
    rig.session(2);
    let auth = AuthRequest { kind: 0, scheme: "digest".into(), auth: Some(Bytes::from_static(b"bob:pw")) };
    rig.request(2, xid::AUTH, op::AUTH, auth);
    rig.sent(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/", false)), 0);
}

#[test]
fn a_key_opens_what_was_made_with_it_and_a_wrong_one_ends_the_connection() {
    let rules = AuthRules { key: true, ..AuthRules::default() };
    let mut rig = Rig::with(&crate::CoreConfig { auth: rules, ..standalone() });
    let auth = |text: &'static str| AuthRequest {
        kind: 0,
        scheme: "key".into(),
        auth: Some(Bytes::from_static(text.as_bytes())),
    };
    rig.session(1);
    rig.request(1, xid::AUTH, op::AUTH, auth("25"));
    rig.sent(1);
    let own = Acl { perms: perm::ALL, id: Id { scheme: "auth".into(), id: Str::new() } };
    let key = Some(Bytes::from_static(b"5"));
    let key = CreateRequest { data: key, acl: vec![own], ..create("/key") };
    assert_eq!(rig.code(1, op::CREATE, key), 0);
    rig.session(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/key", false)), err::NO_AUTH);
    rig.request(2, xid::AUTH, op::AUTH, auth("10"));
    rig.sent(2);
    assert_eq!(rig.code(2, op::GET_DATA, read("/key", false)), 0);
    rig.session(3);
    rig.request(3, xid::AUTH, op::AUTH, auth("11"));
    assert_eq!(split(&rig.sent(3)[0]).0.err, err::AUTH_FAILED);
    assert!(rig.closed(3));
}

#[test]
fn sasl_without_a_server_section_is_answered_with_a_null_token() {
    let mut rig = Rig::new();
    rig.session(1);
    let (header, body) = rig.ask(1, op::SASL, SaslToken { token: Some(Bytes::new()) });
    assert_eq!((header.zxid, header.err, &body[..]), (0, 0, &[0xff; 4][..]));
}

#[test]
fn acls_are_enforced_and_hashes_hidden() {
    let mut rig = Rig::new();
    rig.session(1);
    rig.session(2);
    rig.request(
        1,
        xid::AUTH,
        op::AUTH,
        AuthRequest { kind: 0, scheme: "digest".into(), auth: Some(Bytes::from_static(b"bob:pw")) },
    );
    rig.sent(1);
    let all = Acl { perms: perm::ALL, id: Id { scheme: "auth".into(), id: Str::new() } };
    let acl = vec![all.clone(), world(perm::READ)];
    assert_eq!(rig.code(1, op::CREATE, CreateRequest { acl, ..create("/mine") }), 0);
    let (_, body) = rig.ask(2, op::GET_ACL, PathRequest { path: "/mine".into() });
    assert_eq!(GetAclResponse::decode(&body).unwrap().acl[0].id.id, "bob:x");
    let (_, body) = rig.ask(1, op::GET_ACL, PathRequest { path: "/mine".into() });
    assert_eq!(GetAclResponse::decode(&body).unwrap().acl[0].id.id, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    assert_eq!(rig.code(2, op::SET_DATA, set("/mine")), err::NO_AUTH);
    assert_eq!(rig.code(1, op::SET_DATA, set("/mine")), 0);
    assert_eq!(rig.code(2, op::SET_DATA, set("/zookeeper/config")), err::NO_AUTH);

    // Without READ no event is delivered, but the watch is spent.
    assert_eq!(rig.code(2, op::EXISTS, read("/mine", true)), 0);
    let acl = vec![all];
    rig.code(1, op::SET_ACL, SetAclRequest { path: "/mine".into(), acl, version: -1 });
    rig.code(1, op::SET_DATA, set("/mine"));
    assert!(rig.sent(2).is_empty());
    assert_eq!(rig.front.watch_figures().watches, 0);
    assert_eq!(rig.code(2, op::GET_DATA, read("/mine", false)), err::NO_AUTH);
}

#[test]
fn a_client_proves_by_sasl_who_it_is_and_a_wrong_password_ends_the_connection() {
    use crate::sasl::{CLIENTS, Client, SaslUsers};
    let users = SaslUsers {
        passwords: [("bob".to_owned(), "builder".to_owned())].into(),
        super_password: None,
        super_users: vec!["bob".into()],
        keeps_failed: false,
        secret: [7; 32],
    };
    for (password, works) in [("builder", true), ("bulldozer", false)] {
        let auth = AuthRules {
            sasl: true,
            sasl_users: Some(std::sync::Arc::new(users.clone())),
            ..AuthRules::default()
        };
        let mut rig = Rig::with(&crate::CoreConfig { auth, ..standalone() });
        rig.session(1);
        let mut client = Client::new(CLIENTS, "bob", password, "c".into());
        let mut say = |token: Option<Bytes>| {
            let (header, body) = rig.ask(1, op::SASL, SaslToken { token });
            (header.zxid, header.err, SaslToken::decode(&body).unwrap().token)
        };
        let (_, _, challenge) = say(Some(Bytes::new()));
        let response = client.evaluate(&challenge.unwrap()).unwrap();
        let (zxid, code, token) = say(response);
        assert_eq!(zxid, 0);
        if works {
            client.evaluate(&token.unwrap()).unwrap();
            assert!(client.is_complete());
            let (_, body) = rig.ask(1, op::WHO_AM_I, ());
            let ids = WhoAmIResponse::decode(&body).unwrap().ids;
            assert_eq!(ids.iter().map(|id| &*id.scheme).collect::<Vec<_>>(), ["ip", "sasl", "super"]);
        } else {
            assert_eq!((code, token), (err::AUTH_FAILED, None));
            assert!(rig.closed(1));
        }
    }
}
