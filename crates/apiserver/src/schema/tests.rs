//! The table against the typed objects, and protobuf against a writer that
//! follows the same table.

use serde_json::{Map, Value, json};

use super::protobuf::Envelope;
use super::{Field, Items, ObjectType, Scalar, Shape, builtin};
use crate::kinds;

/// An object with every field set.
fn full(of: &ObjectType) -> Map<String, Value> {
    let mut object = Map::new();
    for field in &of.fields {
        match &field.shape {
            Shape::Object { of, .. } if field.name.is_empty() => object.extend(full(of)),
            shape => {
                object.insert(field.name.clone(), sample(shape));
            }
        }
    }
    object
}

fn sample(shape: &Shape) -> Value {
    match shape {
        Shape::Object { of, .. } => Value::Object(full(of)),
        Shape::Map { of, .. } => json!({ "key": sample(of) }),
        Shape::List { of, .. } => json!([sample(of), sample(of)]),
        Shape::Open => json!({}),
        Shape::Scalar(scalar) => match scalar {
            Scalar::Int32 => json!(-7),
            Scalar::Int64 => json!(1_i64 << 40),
            Scalar::Bool => json!(true),
            Scalar::Bytes => json!("AAECAw=="),
            Scalar::Time => json!("2026-11-20T16:00:00Z"),
            Scalar::MicroTime => json!("2026-11-20T16:00:00.123456Z"),
            Scalar::Quantity => json!("500m"),
            Scalar::String | Scalar::IntOrString => json!("text"),
            Scalar::Json => json!({ "f:spec": {} }),
        },
    }
}

#[test]
fn the_table_names_the_fields_that_the_typed_objects_have() {
    for kind in kinds::builtin().iter() {
        let Some(of) = kind.fields.clone() else {
            continue;
        };
        let object = Value::Object(full(&of));
        let decoded = kind.decode_value(object).unwrap();
        assert_eq!(decoded.strict, [""; 0], "{}", kind.kind);
        // Nor does the table lack any: all of it is there again.
        for (name, value) in full(&of) {
            assert_eq!(decoded.object[&name], value, "{}.{name}", kind.kind);
        }
    }
}

#[test]
fn lists_have_the_keys_that_apply_and_patches_need() {
    let service = builtin("core.Service").unwrap();
    let Some(Shape::Object { of: spec, .. }) = service.field("spec") else {
        panic!("{service:?}")
    };
    let Some(Shape::List {
        items: Items::Keyed(keys),
        ..
    }) = spec.field("ports")
    else {
        panic!("{spec:?}")
    };
    let keys: Vec<_> = keys
        .iter()
        .map(|key| (key.name.as_str(), key.default.clone()))
        .collect();
    assert_eq!(keys, [("port", None), ("protocol", Some(json!("TCP")))]);
    let volume = builtin("core.Volume").unwrap();
    assert!(volume.field("emptyDir").is_some(), "shown as the volume's");
    assert!(volume.field("none").is_none());
}

/// Fields as Go writes them: in order, `optional` ones only when set.
fn encode(of: &ObjectType, object: &Map<String, Value>) -> Vec<u8> {
    let mut message = Vec::new();
    for field in &of.fields {
        match (&field.shape, object.get(&field.name)) {
            (Shape::Object { of, .. }, None) if field.name.is_empty() => {
                put_bytes(&mut message, field, &encode(of, object));
            }
            (Shape::List { of, .. }, Some(Value::Array(list))) => {
                for item in list {
                    put(&mut message, field, of, item);
                }
            }
            (Shape::Map { of, .. }, Some(Value::Object(map))) => {
                for (key, value) in map {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, &numbered(1), key.as_bytes());
                    put(&mut entry, &numbered(2), of, value);
                    put_bytes(&mut message, field, &entry);
                }
            }
            (shape, Some(value)) => put(&mut message, field, shape, value),
            (_, None) => {}
        }
    }
    message
}

fn numbered(number: u32) -> Field {
    Field {
        number,
        name: String::new(),
        shape: Shape::Scalar(Scalar::Json),
        optional: false,
        default: None,
    }
}

fn put(message: &mut Vec<u8>, field: &Field, shape: &Shape, value: &Value) {
    match (shape, value) {
        (_, Value::Number(number)) => {
            put_number(message, field, number.as_i64().unwrap().cast_unsigned());
        }
        (_, Value::Bool(value)) => put_number(message, field, u64::from(*value)),
        (Shape::Object { of, .. }, Value::Object(object)) => {
            put_bytes(message, field, &encode(of, object));
        }
        (Shape::Scalar(scalar), value) => {
            let text = value.as_str().map(str::to_owned);
            let text = text.unwrap_or_else(|| value.to_string());
            let mut inner = Vec::new();
            match scalar {
                Scalar::Bytes => inner = vec![0, 1, 2, 3],
                Scalar::String => inner = text.into_bytes(),
                Scalar::Quantity | Scalar::Json => {
                    put_bytes(&mut inner, &numbered(1), text.as_bytes());
                }
                Scalar::IntOrString => {
                    put_number(&mut inner, &numbered(1), 1);
                    put_bytes(&mut inner, &numbered(3), text.as_bytes());
                }
                Scalar::Time | Scalar::MicroTime => {
                    let time: jiff::Timestamp = text.parse().unwrap();
                    let parts = [time.as_second(), time.subsec_nanosecond().into()];
                    for (number, part) in (1..).zip(parts) {
                        put_number(&mut inner, &numbered(number), part.cast_unsigned());
                    }
                }
                Scalar::Int32 | Scalar::Int64 | Scalar::Bool => panic!("{value} is no {scalar:?}"),
            }
            put_bytes(message, field, &inner);
        }
        other => panic!("{other:?}"),
    }
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn put_number(message: &mut Vec<u8>, field: &Field, value: u64) {
    put_varint(message, u64::from(field.number) << 3);
    put_varint(message, value);
}

fn put_bytes(message: &mut Vec<u8>, field: &Field, bytes: &[u8]) {
    put_varint(message, u64::from(field.number) << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    put_bytes(&mut names, &numbered(1), api_version.as_bytes());
    put_bytes(&mut names, &numbered(2), kind.as_bytes());
    let mut body = b"k8s\0".to_vec();
    put_bytes(&mut body, &numbered(1), &names);
    put_bytes(&mut body, &numbered(2), message);
    body
}

#[test]
fn every_field_of_every_kind_comes_through_protobuf() {
    for kind in kinds::builtin().iter() {
        let Some(of) = kind.fields.clone() else {
            continue;
        };
        let mut object = full(&of);
        let body = body(&kind.api_version(), &kind.kind, &encode(&of, &object));
        let envelope = Envelope::open(&body).unwrap();
        object.insert("apiVersion".to_owned(), kind.api_version().into());
        object.insert("kind".to_owned(), kind.kind.clone().into());
        assert_eq!(envelope.decode(&of).unwrap(), Value::Object(object));
    }
}

/// What kubectl 1.33 sends for `create service clusterip web --tcp=80:8080`.
const SERVICE: &str = "6b3873000a0d0a02763112075365727669636512690a1f0a0377656212001a002200\
    2a003200380042005a0a0a03617070120377656212420a1b0a0738302d3830383012035443501850220708\
    0010903f1a002800120a0a0361707012037765621a002209436c757374657249503a00420052005a006000\
    68001a020a001a002200";

/// What kubectl 1.33 sends for `create deployment d --image=a --replicas=2`.
const DEPLOYMENT: &str = "6b3873000a150a07617070732f7631120a4465706c6f796d656e74129b010a1b\
    0a016412001a0022002a003200380042005a080a036170701201641\
    26e0802120a0a080a036170701201641a560a1a0a0012001a0022002a003200380042005a080a0361707012\
    01641238121a0a01611201612a0042006a007200800100880100900100a201001a00320042004a00520058\
    00600068008201008a01009a0100c2010022020a00280038001a0c0800100018002000280038001a002200";

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

#[test]
fn zeros_that_go_writes_are_absent() {
    let labels = json!({ "app": "d" });
    let cases = [
        (
            SERVICE,
            "core.Service",
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "web", "labels": { "app": "web" } },
                "spec": {
                    "type": "ClusterIP", "selector": { "app": "web" },
                    "ports": [{
                        "name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080,
                    }],
                },
                "status": { "loadBalancer": {} },
            }),
        ),
        (
            DEPLOYMENT,
            "apps.Deployment",
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "d", "labels": labels },
                "spec": {
                    "replicas": 2, "selector": { "matchLabels": labels }, "strategy": {},
                    "template": {
                        "metadata": { "labels": labels },
                        "spec": { "containers": [{ "name": "a", "image": "a", "resources": {} }] },
                    },
                },
                "status": {},
            }),
        ),
    ];
    for (hex, name, expected) in cases {
        let body = from_hex(hex);
        let envelope = Envelope::open(&body).unwrap();
        let decoded = envelope.decode(&builtin(name).unwrap()).unwrap();
        assert_eq!(decoded, expected);
    }
}

#[test]
fn what_is_not_protobuf_is_refused() {
    let whole = body("v1", "ConfigMap", b"\x0a\x05\x0a\x03abc");
    let of = builtin("core.ConfigMap").unwrap();
    assert_eq!(
        Envelope::open(&whole).unwrap().decode(&of).unwrap()["metadata"],
        json!({ "name": "abc" })
    );
    for end in 0..whole.len() {
        let refused = Envelope::open(&whole[..end]).and_then(|envelope| envelope.decode(&of));
        // Without its last field a body is one without an object.
        let empty = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
        assert!(
            refused.is_err()
                || refused
                    .as_ref()
                    .is_ok_and(|value| value["metadata"].is_null()),
            "{end}: {refused:?} {empty}"
        );
    }
    let cases: &[(&[u8], &str)] = &[
        (b"\x08\x01", "metadata: a number where text should be"),
        (
            b"\x0a\x03\x0a\x01\xff",
            "metadata: name: a text is not UTF-8",
        ),
        (b"\x0a\x04\x0a\x09ab", "metadata: the message breaks off"),
        (b"\x0b", "unknown wire type 3"),
        (
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "a number has more than 64 bits",
        ),
        (
            b"\x22\x02\x0a\x00",
            "immutable: text where a number should be",
        ),
    ];
    for (message, expected) in cases {
        let body = body("v1", "ConfigMap", message);
        let refused = Envelope::open(&body).and_then(|envelope| envelope.decode(&of));
        assert_eq!(refused.unwrap_err().to_string(), *expected, "{message:?}");
    }
}
