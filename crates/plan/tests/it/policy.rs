//! Policies: the semantics as cases, the corpora of others, properties, sizes.

mod cases;
mod cluster_corpus;
mod corpora;
mod effect;
mod kubernetes_json;
mod properties;
mod scale;
mod updates;
