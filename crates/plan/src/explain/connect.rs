//! One connection, from its source to where it can go.

use std::iter;

use super::judge::Judged;
use super::party::{Kind, Party};
use super::path::{Journey, Target, Vantage};
use super::why::{self, Teller};
use super::{Answer, ExplainError, Explainer, Question, Verdict};
use crate::policy::Judgement;
use crate::service::{Decision, Outcome};

/// Answers a question.
pub(super) fn connect(
    explainer: &mut Explainer,
    question: &Question,
) -> Result<Answer, ExplainError> {
    if question.port == 0 {
        return Err(ExplainError::PortZero);
    }
    let from = Party::parse(&explainer.state, &question.from)?;
    let to = Party::parse(&explainer.state, &question.to)?;
    if matches!(from.kind, Kind::Service) {
        return Err(ExplainError::SourceIsService(question.from.clone()));
    }
    match Journey::find(question, from.clone(), to.clone()) {
        Ok(journey) => follow(explainer, &journey),
        Err(reason) => {
            let why = why::no_route(question, &from, &to, reason);
            Ok(unrouted(question, vec![why]))
        }
    }
}

fn unrouted(question: &Question, why: Vec<String>) -> Answer {
    Answer {
        from: question.from.clone(),
        to: question.to.clone(),
        port: question.port,
        protocol: question.protocol,
        verdict: Verdict::Unrouted,
        service: None,
        masquerade: false,
        endpoints: Vec::new(),
        why,
    }
}

fn follow(explainer: &mut Explainer, journey: &Journey<'_>) -> Result<Answer, ExplainError> {
    let first = journey.first_vantage(&explainer.state)?;
    let next = journey.next_vantage(&first);
    for vantage in iter::once(&first).chain(&next) {
        explainer.plan_services(&vantage.node);
    }
    let explainer = &*explainer;
    let mut teller = Teller::new(explainer, journey);
    teller.sets_out(&first);
    let decision = explainer.decide_at(journey, &first);
    let passed = match next {
        Some(next) if decision.outcome == Outcome::Pass => {
            let leaving = explainer.judge(journey, journey.itself(), false);
            leaving.egress.is_allowed().then_some((next, leaving))
        }
        _ => None,
    };
    // What another node's services make of a packet, the policies of its
    // source's node cannot know: they judge it as it leaves.
    let (vantage, decision, egress) = match passed {
        Some((next, leaving)) => {
            teller.goes_on(&first, &leaving, &next);
            let decision = explainer.decide_at(journey, &next);
            (next, decision, Some(leaving.egress))
        }
        None => (first, decision, None),
    };
    teller.meets_services(&vantage, &decision);
    let judged = explainer.judge_all(journey, &decision, egress.as_ref());
    if egress.is_none() {
        teller.leaves(&judged);
    }
    teller.arrives(&vantage, &judged);
    Ok(answer(journey, &decision, &judged, teller.told()))
}

fn answer(
    journey: &Journey<'_>,
    decision: &Decision<'_>,
    judged: &[Judged],
    why: Vec<String>,
) -> Answer {
    let service = decision.matched.as_ref();
    Answer {
        verdict: match decision.outcome {
            Outcome::Pass | Outcome::Forward(_) => {
                Verdict::of_all(judged.iter().map(Judged::verdict))
            }
            Outcome::Reject(_) => Verdict::Reject,
            Outcome::Drop(_) => Verdict::Drop,
        },
        service: service.map(|(_, route)| route.service.to_string()),
        masquerade: judged.iter().any(|judged| judged.target.masquerade),
        endpoints: judged.iter().map(Judged::answer).collect(),
        ..unrouted(journey.question, why)
    }
}

impl Explainer {
    fn decide_at(&self, journey: &Journey<'_>, vantage: &Vantage) -> Decision<'_> {
        let planner = self.services.get(&vantage.node);
        planner.map_or(
            Decision {
                matched: None,
                outcome: Outcome::Pass,
            },
            |planner| journey.decide(planner, vantage),
        )
    }

    /// Every place that services leave the packet, judged; with `egress`, what
    /// the source's own node has judged already.
    fn judge_all(
        &self,
        journey: &Journey<'_>,
        decision: &Decision<'_>,
        egress: Option<&Judgement>,
    ) -> Vec<Judged> {
        let targets = match &decision.outcome {
            Outcome::Pass => vec![journey.itself()],
            Outcome::Forward(endpoints) => Target::of_service(&self.state, endpoints),
            Outcome::Reject(_) | Outcome::Drop(_) => Vec::new(),
        };
        let through_service = decision.matched.is_some();
        let judge = |target| {
            let judged = self.judge(journey, target, through_service);
            let egress = egress.unwrap_or(&judged.egress).clone();
            Judged { egress, ..judged }
        };
        targets.into_iter().map(judge).collect()
    }
}
