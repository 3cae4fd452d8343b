//! Translations: one file for each backend of each feature.
