mod cluster_network_policy;
mod endpoint_slice;
mod network_policy;
mod pod;
mod service;

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

fn read<K: Readable + DeserializeOwned>(value: Value) -> Reading {
    serde_json::from_value::<K>(value).unwrap().read()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn faults(reading: &Reading) -> Vec<String> {
    let print = |fault: &Fault| format!("{}: {}", fault.field, fault.reason);
    reading.faults.iter().map(print).collect()
}
