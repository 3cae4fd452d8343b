//! Who the server is and who may talk to it: a generated CA, a server
//! certificate signed by it, and one bearer token for each user.
//!
//! CA and tokens are kept, so that clients survive a restart; the server's
//! certificate is made anew at each start and so always has the names that the
//! caller wants.

mod files;
mod tokens;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Error;
pub(crate) use files::write_private;
pub(crate) use tokens::Tokens;
pub use tokens::User;

/// Names under which every server is reached, besides the caller's.
const OWN_NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The server's identity and its users.
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) tokens: Tokens,
    pub(crate) tls: Arc<ServerConfig>,
}

impl Pki {
    /// Reads `dir`, or makes what is missing there: `ca.crt`, `ca.key`,
    /// `admin.token`, `node.token`, all of mode 0600. `names` (host names or
    /// addresses) go into the server's certificate.
    pub(crate) fn open(dir: &Path, names: &[String]) -> Result<Pki, Error> {
        files::private_folder(dir)?;
        let (ca_pem, issuer) = authority(dir)?;
        let tokens = Tokens::open(dir)?;
        let tls = server_config(&issuer, names)?;
        Ok(Pki {
            ca_pem,
            tokens,
            tls: Arc::new(tls),
        })
    }
}

fn failed(subject: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let subject = subject.to_owned();
    move |source| Error::Certificate { subject, source }
}

fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
}

/// The stored CA, or a new one. Key first: a certificate without its key would
/// lock everybody out, a key without certificate is just not used.
fn authority(dir: &Path) -> Result<(String, Issuer<'static, KeyPair>), Error> {
    let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
    let mut params = CertificateParams::default();
    named(&mut params, "podway");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    if let Some(pem) = files::read(&certificate_path)? {
        let key_pem = files::read(&key_path)?.ok_or_else(|| Error::Damaged {
            path: key_path.clone(),
            why: "it is missing, though ca.crt is there".to_owned(),
        })?;
        let key = KeyPair::from_pem(&key_pem).map_err(|error| Error::Damaged {
            path: key_path,
            why: error.to_string(),
        })?;
        return Ok((pem, Issuer::new(params, key)));
    }
    let key = KeyPair::generate().map_err(failed("the CA"))?;
    let pem = params.self_signed(&key).map_err(failed("the CA"))?.pem();
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&certificate_path, &pem)?;
    Ok((pem, Issuer::new(params, key)))
}

fn server_config(issuer: &Issuer<'_, KeyPair>, names: &[String]) -> Result<ServerConfig, Error> {
    let mut all: Vec<String> = OWN_NAMES.iter().map(|&name| name.to_owned()).collect();
    all.extend(
        names
            .iter()
            .filter(|name| !OWN_NAMES.contains(&name.as_str()))
            .cloned(),
    );
    let subject = all.join(", ");
    let mut params = CertificateParams::new(all).map_err(failed(&subject))?;
    named(&mut params, "podway-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(failed(&subject))?;
    let certificate = params.signed_by(&key, issuer).map_err(failed(&subject))?;
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Named here and not installed for the process: the binary may have others.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(Error::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
