use super::*;

fn password(user: &str) -> Option<String> {
    (user == "bob").then(|| "builder".into())
}

fn server() -> Server {
    Server::new(CLIENTS, "6/aYzaItsi8".into())
}

/// What `bob` with this password says to the server's challenge.
fn response(password: &str) -> (Client, Bytes) {
    let mut client = Client::new(CLIENTS, "bob", password, "OA6MHXh6VqTrRk".into());
    let Ok(Answer::Challenge(challenge)) = server().evaluate(b"", |_| None) else { panic!() };
    let response = client.evaluate(&challenge).unwrap().unwrap();
    (client, response)
}

fn asked() -> Server {
    let mut server = server();
    server.evaluate(b"", password).unwrap();
    server
}

#[test]
fn the_challenge_has_java_s_directives_in_java_s_order() {
    let expected = "realm=\"zk-sasl-md5\",nonce=\"6/aYzaItsi8\",charset=utf-8,algorithm=md5-sess";
    assert_eq!(server().evaluate(b"", password), Ok(Answer::Challenge(expected.into())));
}

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let (mut client, response) = response("builder");
    let done = asked().evaluate(&response, password).unwrap();
    let Answer::Done { token, user, authorization } = done else { panic!("{done:?}") };
    assert_eq!((user.as_str(), authorization), ("bob", None));
    assert_eq!(client.evaluate(&token), Ok(None));
    assert!(client.is_complete());
    assert_eq!(client.evaluate(&token), Err(SaslError::Over));
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_replay_are_refused() {
    assert_eq!(asked().evaluate(&response("bulldozer").1, password), Err(SaslError::Mismatch));
    let nobody = asked().evaluate(&response("builder").1, |_| None);
    assert_eq!(nobody, Err(SaslError::User("bob".into())));
    let mut other = Server::new(CLIENTS, "another".into());
    other.evaluate(b"", password).unwrap();
    let replayed = other.evaluate(&response("builder").1, password);
    assert!(matches!(replayed, Err(SaslError::Value { key: "nonce", .. })));
    let mut server = asked();
    server.evaluate(b"x", password).unwrap_err();
    assert_eq!(server.evaluate(&response("builder").1, password), Err(SaslError::Over));
}

#[test]
fn a_client_of_another_service_is_refused() {
    let (_, said) = response("builder");
    let said = String::from_utf8(said.to_vec()).unwrap();
    for (from, to, key) in [
        ("zookeeper/zk-sasl-md5", "zookeeper/other", "digest-uri"),
        ("realm=\"zk-sasl-md5\"", "realm=\"other\"", "realm"),
        ("nc=00000001", "nc=00000002", "nc"),
        ("qop=auth", "qop=auth-conf", "qop"),
        ("charset=utf-8", "charset=latin", "charset"),
    ] {
        assert!(said.contains(from));
        let wrong = asked().evaluate(said.replace(from, to).as_bytes(), password).unwrap_err();
        assert!(matches!(wrong, SaslError::Value { key: found, .. } if found == key), "{wrong}");
    }
    for key in ["username", "cnonce", "response", "nonce", "digest-uri"] {
        let without = said.replace(&format!("{key}="), &format!("x{key}="));
        assert_eq!(asked().evaluate(without.as_bytes(), password), Err(SaslError::Directive(key)));
    }
    assert_eq!(server().evaluate(b"x", password), Err(SaslError::Initial));
}

#[test]
fn a_client_refuses_a_server_that_cannot_prove_itself() {
    let (mut client, _) = response("builder");
    assert_eq!(client.evaluate(b"rspauth=00"), Err(SaslError::Mismatch));
    let mut client = Client::new(QUORUM, "bob", "builder", "c".into());
    let weak = client.evaluate(b"nonce=\"n\",algorithm=md5").unwrap_err();
    assert_eq!(weak, SaslError::Value { key: "algorithm", value: "md5".into() });
}
