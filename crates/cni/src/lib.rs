//! The CNI plugin: blocking, starts in milliseconds.
