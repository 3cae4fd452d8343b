//! `pods/NAME/binding`: the scheduler's decision.

use serde_json::{Value, json};

use super::{Context, Target, is_terminating, timestamp};
use crate::status::Status;
use crate::store::{Transaction, metadata_text};

pub(super) fn bind(
    transaction: &mut Transaction<'_>,
    context: &Context<'_>,
    target: &Target,
    binding: &Value,
) -> Result<(), Status> {
    let pod = target.find(transaction)?;
    let refuse = |why: &str| Err(Status::conflict(&target.kind, &target.name, why));
    let uid = metadata_text(binding, "uid");
    if !uid.is_empty() && uid != pod.metadata("uid") {
        return refuse("the binding is for another pod of the same name (its uid differs)");
    }
    if is_terminating(&pod) {
        return refuse("pod is being deleted, cannot be assigned to a host");
    }
    let node = binding
        .pointer("/target/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(
            "target.name: Required value: the node's name",
        ));
    }
    let current = pod
        .value()
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !current.is_empty() {
        return refuse(&format!(
            "pod {} is already assigned to node \"{current}\"",
            target.name
        ));
    }
    let mut bound = pod.to_value();
    bound["spec"]["nodeName"] = json!(node);
    let condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": timestamp(context),
    });
    set_condition(&mut bound, condition);
    transaction.put(&target.resource(), bound);
    Ok(())
}

fn set_condition(pod: &mut Value, condition: Value) {
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    conditions.retain(|other| other["type"] != condition["type"]);
    conditions.push(condition);
}
