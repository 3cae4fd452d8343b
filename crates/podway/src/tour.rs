//! `podway lab tour`: a walk through a small shop, with real connections, each
//! held against what `explain` says of it.

mod probe;
mod stage;

use std::process::ExitCode;
use std::time::Instant;

use podway_lab::Settings;
use podway_plan::explain::Explainer;

use crate::terminal::Palette;
use probe::{Probe, Target};
use stage::Stage;

/// The manifests, in the binary: the tour needs no checkout.
const SHOP: &str = include_str!("../../../examples/tour/shop.yaml");
const POLICY: &str = include_str!("../../../examples/tour/only-the-cart.yaml");

pub(crate) fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let palette = Palette::stdout();
    println!(
        "{}",
        palette.bold("A tour of Podway: three nodes, one service, one policy")
    );
    println!("Every line is a real connection; beside it, what `podway explain` says of it.");
    let mut tour = Tour {
        stage: Stage::open(settings)?,
        palette,
        chapter: 0,
        surprises: 0,
    };
    tour.walk()?;
    tour.close(begun);
    Ok(ExitCode::from(u8::from(tour.surprises > 0)))
}

struct Tour {
    stage: Stage,
    palette: Palette,
    chapter: usize,
    /// Connections that went otherwise than explained.
    surprises: usize,
}

impl Tour {
    fn walk(&mut self) -> anyhow::Result<()> {
        self.chapter("A cluster on this machine: each node a network namespace");
        self.typed(&format!("podway lab up --name {}", self.stage.lab()));
        for line in self.stage.nodes() {
            println!("    {line}");
        }

        self.chapter("A shop: three web pods behind a Service, a cart and a visitor");
        self.typed("kubectl apply -f examples/tour/shop.yaml");
        self.stage.apply("shop.yaml", SHOP)?;
        for line in self.stage.wait_for_pods()? {
            println!("    {line}");
        }

        self.chapter("Pods reach each other: next door, and on another node");
        self.probe(&[
            Probe::pod("cart", Target::Pod("web-1")),
            Probe::pod("cart", Target::Pod("web-3")),
        ])?;

        self.chapter("The Service: its cluster IP leads to one of the web pods");
        self.probe(&[
            Probe::pod("cart", Target::ClusterIp).times(6),
            Probe::pod("visitor", Target::ClusterIp),
        ])?;

        self.chapter("A web pod calls its own Service, and may be sent to itself (hairpin)");
        self.probe(&[Probe::pod("web-1", Target::ClusterIp).times(8)])?;

        self.chapter("From outside the cluster: port 30080 of every node");
        self.probe(&[
            Probe::client(Target::NodePort("node1")),
            Probe::client(Target::NodePort("node3")),
        ])?;

        self.chapter("A NetworkPolicy: only the cart may talk to the web pods");
        self.typed("kubectl apply -f examples/tour/only-the-cart.yaml");
        self.stage.apply("only-the-cart.yaml", POLICY)?;
        self.in_force()?;
        self.probe(&[
            Probe::pod("cart", Target::ClusterIp),
            Probe::pod("visitor", Target::ClusterIp),
            Probe::pod("visitor", Target::Pod("web-1")),
            Probe::client(Target::NodePort("node2")),
        ])?;

        self.chapter("Without the policy everything is open again");
        self.typed("kubectl delete networkpolicy -n shop only-the-cart");
        self.stage.delete_policy("shop", "only-the-cart")?;
        self.in_force()?;
        self.probe(&[Probe::pod("visitor", Target::ClusterIp)])
    }

    fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        println!(
            "\n{}",
            self.palette.bold(&format!("{}. {title}", self.chapter))
        );
    }

    fn typed(&self, command: &str) {
        println!("    {}", self.palette.cyan(&format!("$ {command}")));
    }

    fn in_force(&self) -> anyhow::Result<()> {
        let took = self.stage.wait_until_in_force()?;
        println!("    in force on every node after {} ms", took.as_millis());
        Ok(())
    }

    /// Tries the connections in both families, all at once, and prints them in
    /// order.
    fn probe(&mut self, probes: &[Probe]) -> anyhow::Result<()> {
        let mut explainer = Explainer::new(self.stage.state()?);
        for finding in probe::run(probes, &self.stage, &mut explainer)? {
            print!("{}", finding.text(self.palette));
            self.surprises += usize::from(!finding.is_as_explained());
        }
        Ok(())
    }

    fn close(&self, begun: Instant) {
        let lab = self.stage.lab();
        println!();
        if self.surprises == 0 {
            let all = "Every connection went as explained";
            println!(
                "{}, in {:.1} s.",
                self.palette.green(all),
                begun.elapsed().as_secs_f64()
            );
        } else {
            let text = format!(
                "{} connections went otherwise than explained",
                self.surprises
            );
            println!("{}: please report this.", self.palette.red(&text));
        }
        println!(
            "The lab goes on running. Try next (podway is {}):",
            self.stage.program()
        );
        for line in [
            format!("eval \"$(podway lab env --name {lab})\"     # then kubectl knows the lab"),
            "kubectl get pods -n shop -o wide".to_owned(),
            "podway explain connect --from shop/visitor --to svc:shop/web --port 80".to_owned(),
            "podway status".to_owned(),
            format!("podway lab node --name {lab} node1 -- nft list table inet podway-services"),
        ] {
            println!("    {}", self.palette.cyan(&line));
        }
        println!("Stop it with: make demo-down   (podway lab down --name {lab})");
    }
}
