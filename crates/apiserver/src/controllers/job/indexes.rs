//! Indexed jobs: each index has to succeed once.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::{Step, count};
use crate::controllers::pods;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// `0-2,5` as numbers.
pub(super) fn parse(text: Option<&str>) -> BTreeSet<usize> {
    let parts = text.unwrap_or_default().split(',');
    let ranges = parts.filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Numbers as `0-2,5`.
pub(super) fn print(numbers: &BTreeSet<usize>) -> Option<String> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

fn index_of(pod: &Pod) -> Option<usize> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

impl Step<'_> {
    /// Notes the indexes that have succeeded.
    pub(super) fn note_indexes(&self, status: &mut JobStatus) {
        if !self.is_indexed() {
            return;
        }
        let mut done = parse(status.completed_indexes.as_deref());
        let well = self
            .pods
            .iter()
            .filter(|pod| pods::phase(pod) == "Succeeded");
        let most = count(self.spec.completions.unwrap_or(0));
        done.extend(well.filter_map(index_of).filter(|&index| index < most));
        status.completed_indexes = print(&done);
    }

    /// Indexes that have not succeeded, and that no pod works on.
    pub(super) fn free_indexes(&self, status: &JobStatus) -> impl Iterator<Item = usize> + use<> {
        let mut taken = parse(status.completed_indexes.as_deref());
        taken.extend(self.active().filter_map(index_of));
        (0..count(self.spec.completions.unwrap_or(0))).filter(move |index| !taken.contains(index))
    }

    /// A pod for an index, which it finds in its environment.
    pub(super) fn indexed(&self, pod: &Pod, index: usize) -> Pod {
        let mut pod = pod.clone();
        let metadata = &mut pod.metadata;
        for names in [&mut metadata.annotations, &mut metadata.labels] {
            names
                .get_or_insert_default()
                .insert(INDEX.to_owned(), index.to_string());
        }
        metadata.generate_name = Some(format!("{}-{index}-", self.controller.name));
        let spec = pod.spec.get_or_insert_default();
        spec.hostname
            .get_or_insert_with(|| format!("{}-{index}", self.controller.name));
        let variable = EnvVar {
            name: "JOB_COMPLETION_INDEX".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: format!("metadata.annotations['{INDEX}']"),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        };
        let inits = spec.init_containers.iter_mut().flatten();
        for container in inits.chain(&mut spec.containers) {
            let environment = container.env.get_or_insert_default();
            if environment.iter().all(|other| other.name != variable.name) {
                environment.push(variable.clone());
            }
        }
        pod
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, print};

    #[test]
    fn indexes_are_ranges() {
        for text in ["0", "0,1", "0-2", "1,3-5,7", "0,1,4-6"] {
            assert_eq!(print(&parse(Some(text))).as_deref(), Some(text));
        }
        assert_eq!(print(&parse(None)), None);
    }
}
