//! Who is who by the login configuration file: sections of modules with names and passwords, DigestLoginModule first.

use base::jaas::{self, Module};
use std::fmt;

/// `user_NAME=PASSWORD`
const USER: &str = "user_";

#[derive(Debug, thiserror::Error)]
pub enum JaasError {
    #[error(transparent)]
    File(#[from] jaas::JaasError),
    #[error("{path}: section `{section}`: {class}: {why}", path = path.display())]
    Module { path: std::path::PathBuf, section: String, class: String, why: &'static str },
    #[error("{path}: section `{section}`: username and password are needed", path = path.display())]
    Login { path: std::path::PathBuf, section: String },
}

/// A parsed file.
#[derive(Clone)]
pub struct Jaas(jaas::Jaas);

/// Without passwords.
impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Jaas {
    /// `named`: as `-Djava.security.auth.login.config` has it, a path or a `file:` address.
    pub fn read(named: &str) -> Result<Jaas, JaasError> {
        Ok(Jaas(jaas::Jaas::read(named)?))
    }

    pub fn has(&self, section: &str) -> bool {
        self.0.has(section)
    }

    /// Who may come, by a section of a server.
    pub fn users(&self, section: &str) -> Result<super::Users, JaasError> {
        let options = self.digest(section)?.flat_map(|module| &module.options);
        let user = |(key, value): (&String, &String)| Some((key.strip_prefix(USER)?.into(), value.clone()));
        Ok(options.filter_map(user).collect())
    }

    /// As whom we come, by a section of a client.
    pub fn login(&self, section: &str) -> Result<(String, String), JaasError> {
        let mut modules = self.digest(section)?;
        let login = modules.find_map(|module| {
            Some((module.options.get("username")?.clone(), module.options.get("password")?.clone()))
        });
        login.ok_or_else(|| JaasError::Login { path: self.0.path.clone(), section: section.into() })
    }

    /// A section's modules, all with what DIGEST-MD5 goes by.
    fn digest(&self, section: &str) -> Result<impl Iterator<Item = &Module>, JaasError> {
        let modules = self.0.modules(section)?;
        for module in modules {
            module.for_digest().map_err(|why| JaasError::Module {
                path: self.0.path.clone(),
                section: section.into(),
                class: module.class.clone(),
                why,
            })?;
        }
        Ok(modules.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        // of the ensemble
        Server {
            org.apache.zookeeper.server.auth.DigestLoginModule required
            user_super="adminsecret" /* and */ user_bob='bob;s secret';
        };
        QuorumLearner { org.apache.zookeeper.server.auth.DigestLoginModule required
            username=test password="mypassword"; };
        Kafka { org.apache.kafka.common.security.scram.ScramLoginModule required username=ann password=pass
            user_ann=pass; };
        Kerberos { com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true; };
    "#;

    fn parse(text: &str) -> Result<Jaas, JaasError> {
        Ok(Jaas(jaas::Jaas::parse(std::path::Path::new("jaas.conf"), text)?))
    }

    #[test]
    fn users_and_logins_are_read() {
        let jaas = parse(FILE).unwrap();
        let users = jaas.users("Server").unwrap();
        assert_eq!(users["super"], "adminsecret");
        assert_eq!(users["bob"], "bob;s secret");
        assert_eq!(jaas.login("QuorumLearner").unwrap(), ("test".into(), "mypassword".into()));
        assert_eq!(jaas.login("Kafka").unwrap(), ("ann".into(), "pass".into()));
        assert_eq!(jaas.users("Kafka").unwrap()["ann"], "pass");
        assert!(!format!("{jaas:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_work_is_told_with_file_and_section() {
        let jaas = parse(FILE).unwrap();
        let wrong = jaas.users("Kerberos").unwrap_err().to_string();
        assert_eq!(
            wrong,
            "jaas.conf: section `Kerberos`: com.sun.security.auth.module.Krb5LoginModule: GSSAPI (Kerberos) is not \
             supported; DigestLoginModule is"
        );
        let wrong = jaas.users("None").unwrap_err().to_string();
        assert_eq!(wrong, "jaas.conf: the specified JAAS configuration section 'None' could not be found");
        assert!(jaas.login("Server").unwrap_err().to_string().contains("username and password are needed"));
    }
}
