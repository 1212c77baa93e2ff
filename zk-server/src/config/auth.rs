//! Authentication: `DigestAuthenticationProvider.*`, `enforce.auth.*`, `authProvider.N`, `skipACL`.

use super::{Security, keys};
use base::{ConfigError, Settings};
use wire::Str;
use zk_core::auth::{AuthRules, DigestAlg};

const DIGEST_ENABLED: &str = "DigestAuthenticationProvider.enabled";
const DIGEST_ALG: &str = "DigestAuthenticationProvider.digestAlg";
const SUPER_DIGEST: &str = "DigestAuthenticationProvider.superDigest";
const ENFORCE: &str = "enforce.auth.enabled";
const SCHEMES: &str = "enforce.auth.schemes";
const SASL_REQUIRED: &str = "sessionRequireClientSASLAuth";

/// The schemes that there are and what is asked of clients.
pub(super) fn rules(settings: &Settings, security: &Security) -> Result<AuthRules, ConfigError> {
    let alg = settings.text(DIGEST_ALG);
    let digest = DigestAlg::named(alg).ok_or_else(|| {
        let why =
            format!("don't support this ACL digest algorithm: {alg}: write SHA1, SHA-256, SHA3-256 ...");
        settings.error(DIGEST_ALG, why)
    })?;
    // A line that names the provider brings the scheme back.
    let enabled = settings.bool(DIGEST_ENABLED) || has_provider(settings, keys::DIGEST_PROVIDER);
    let mut rules = AuthRules {
        skip_acl: settings.text("skipACL") == "yes",
        digest: enabled.then_some(digest),
        super_digest: settings.text_opt(SUPER_DIGEST).map(Into::into),
        ensemble_names: has_provider(settings, keys::ENSEMBLE_PROVIDER).then(|| names(settings)),
        key: has_provider(settings, keys::KEY_PROVIDER),
        x509: security.tls.is_some() || has_provider(settings, keys::X509_PROVIDER),
        sasl: has_provider(settings, keys::SASL_PROVIDER),
        any_sasl_user: settings.text_opt("letAnySaslUserDoX").map(Into::into),
        sasl_users: security.sasl_users.clone(),
        enforced: vec![],
    };
    if settings.bool(SASL_REQUIRED) {
        if !rules.sasl {
            let message = "Authentication scheme sasl is not available";
            return Err(settings.error(SASL_REQUIRED, message));
        }
        rules.enforced = vec![Str::from_static("sasl")];
    } else if settings.bool(ENFORCE) {
        rules.enforced = enforced(settings, &rules)?;
    }
    Ok(rules)
}

fn has_provider(settings: &Settings, class: &str) -> bool {
    let mut providers = settings.unknown.iter().filter(|entry| entry.key.starts_with(keys::PROVIDER));
    providers.any(|entry| entry.value.trim() == class)
}

/// The names that the scheme `ensemble` accepts.
fn names(settings: &Settings) -> Vec<Str> {
    let names = settings.text_opt("ensembleAuthName").unwrap_or_default();
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Str::from).collect()
}

fn enforced(settings: &Settings, rules: &AuthRules) -> Result<Vec<Str>, ConfigError> {
    let schemes = settings.list(SCHEMES);
    if schemes.is_empty() {
        return Err(settings.error(ENFORCE, format!("{ENFORCE} is true {SCHEMES} must be configured")));
    }
    if let Some(unknown) = schemes.iter().find(|scheme| !rules.knows(scheme)) {
        return Err(settings.error(SCHEMES, format!("Authentication scheme {unknown} is not available")));
    }
    Ok(schemes.iter().map(|scheme| scheme.as_str().into()).collect())
}
