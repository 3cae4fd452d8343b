//! Secret.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::absent;

/// `stringData` is for writing only: its entries become those of `data`.
pub(crate) fn secret(secret: &mut Secret) {
    absent(&mut secret.type_, "Opaque");
    for (key, text) in secret.string_data.take().into_iter().flatten() {
        let data = secret.data.get_or_insert_default();
        data.insert(key, ByteString(text.into_bytes()));
    }
}
