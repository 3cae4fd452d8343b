//! The file that tells a client where the server is and how to trust it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A complete kubeconfig. It is written as JSON, which is YAML as well, so that
/// no value needs quoting rules.
pub(crate) fn render(server: &str, ca_pem: &str, user: &str, token: &str) -> Value {
    let authority = STANDARD.encode(ca_pem);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "podway",
            "cluster": { "server": server, "certificate-authority-data": authority },
        }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "podway", "context": { "cluster": "podway", "user": user } }],
        "current-context": "podway",
    })
}
