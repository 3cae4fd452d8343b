//! Event.

use k8s_openapi::api::core::v1::Event;

use super::{FieldErrors, Path, names};

pub(crate) fn validate(event: &Event, errors: &mut FieldErrors) {
    const INSTANCE_MAX: usize = 128;
    const REASON_MAX: usize = 128;
    const MESSAGE_MAX: usize = 1024;
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let involved = event
        .involved_object
        .namespace
        .as_deref()
        .unwrap_or_default();
    // Events about objects without a namespace live in default.
    let belongs = namespace == involved || (involved.is_empty() && namespace == "default");
    if !belongs {
        errors.invalid(
            &Path::from("involvedObject.namespace"),
            involved,
            "does not match event.namespace",
        );
    }
    // Only clients of the newer API set the time, and they set these as well.
    if event.event_time.is_none() {
        return;
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let component = text(&event.reporting_component);
    for (field, value, max) in [
        ("reportingComponent", component.clone(), usize::MAX),
        (
            "reportingInstance",
            text(&event.reporting_instance),
            INSTANCE_MAX,
        ),
        ("action", text(&event.action), REASON_MAX),
        ("reason", text(&event.reason), REASON_MAX),
    ] {
        if value.is_empty() {
            errors.required(&Path::new(field), "");
        } else if value.len() > max {
            let detail = format!("can have at most {max} characters");
            errors.invalid(&Path::new(field), value, &detail);
        }
    }
    if !component.is_empty() {
        let details = names::qualified_name(&component);
        errors.invalid_each(&Path::new("reportingComponent"), &component, details);
    }
    if text(&event.message).len() > MESSAGE_MAX {
        let detail = format!("can have at most {MESSAGE_MAX} characters");
        errors.invalid(&Path::new("message"), text(&event.message), &detail);
    }
}
