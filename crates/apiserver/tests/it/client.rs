//! What clients built on libraries rely on, over HTTP.
