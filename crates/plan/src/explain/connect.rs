//! One connection, from its source to where it can go.

use super::judge::Judged;
use super::party::{Kind, Party};
use super::path::{Route, Target};
use super::why::{self, Teller};
use super::{Answer, ExplainError, Explainer, Question, Verdict};
use crate::service::Outcome;

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
    match Route::find(question, from.clone(), to.clone()) {
        Ok(route) => follow(explainer, &route),
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

fn follow(explainer: &mut Explainer, route: &Route<'_>) -> Result<Answer, ExplainError> {
    let first = route.first_vantage(&explainer.state)?;
    let way = explainer.plan_way(route, first);
    let explainer = &*explainer;
    let (way, decision) = explainer.follow(route, &way);
    let mut teller = Teller::new(explainer, route);
    teller.sets_out(&way[0]);
    teller.meets_services(way, &decision);
    let targets = match &decision.outcome {
        Outcome::Pass => vec![route.itself()],
        Outcome::Forward(endpoints) => Target::of_service(&explainer.state, endpoints),
        Outcome::Reject(_) | Outcome::Drop(_) => Vec::new(),
    };
    let through_service = decision.matched.is_some();
    let judged: Vec<Judged> = targets
        .into_iter()
        .map(|target| explainer.judge(route, target, through_service))
        .collect();
    teller.meets_policies(&way[way.len() - 1], &judged);
    Ok(Answer {
        verdict: match decision.outcome {
            Outcome::Pass | Outcome::Forward(_) => {
                Verdict::of_all(judged.iter().map(Judged::verdict))
            }
            Outcome::Reject(_) => Verdict::Reject,
            Outcome::Drop(_) => Verdict::Drop,
        },
        service: decision.matched.map(|(_, route)| route.service.to_string()),
        masquerade: judged.iter().any(|judged| judged.target.masquerade),
        endpoints: judged.iter().map(Judged::answer).collect(),
        ..unrouted(route.question, teller.told())
    })
}
