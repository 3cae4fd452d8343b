use super::*;

#[test]
fn every_kind_is_found_by_its_path_and_by_its_type() {
    for kind in KINDS {
        assert!(std::ptr::eq(
            by_resource(kind.group, kind.version, kind.plural).unwrap(),
            kind
        ));
        assert!(std::ptr::eq(
            by_kind(&kind.api_version(), kind.kind).unwrap(),
            kind
        ));
    }
}
