//! A plugin that is killed after any of its system calls leaves nothing that the
//! next DEL, or GC, does not take away.

use std::fs;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use podway_kernel::nft::{Nft, Nftables};
use podway_kernel::route::Rtnetlink;
use serde_json::{Value, json};

use crate::node::{Node, Pod};

/// System calls after which the world is as before: no moment of their own.
const WITHOUT_EFFECT: [libc::c_long; 16] = [
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_close,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_fcntl,
    libc::SYS_statx,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_futex,
    libc::SYS_ppoll,
];

/// Everything that ADD can make.
fn config(node: &Node) -> Value {
    let mut config = node.config();
    config["runtimeConfig"] = json!({
        "portMappings": [{ "hostPort": 8080, "containerPort": 80 }],
        "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 },
    });
    config
}

/// Calls the plugin and kills it after its `moment`th system call that may have
/// changed something, counted from 1. Whether it came so far.
fn killed(node: &Node, command: &str, pod: &Pod, config: &Value, moment: usize) -> bool {
    let mut child = node.start(command, pod);
    let traced = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // It waits for its configuration: nothing has happened yet.
    let options =
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::seize(traced, options).unwrap();
    ptrace::interrupt(traced).unwrap();
    Node::configure(&mut child, config);
    let came_so_far = step(moment);
    let _ = child.kill();
    // Each thread must be let go by the one that traces it.
    while waitpid(None, Some(traced_here())).is_ok() {}
    let _ = child.wait();
    came_so_far
}

/// What this thread traces, not the children of other tests.
fn traced_here() -> WaitPidFlag {
    WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD
}

/// Lets the threads of the process that this thread traces go from call to call.
fn step(moment: usize) -> bool {
    let mut calls = 0;
    let mut entered = Vec::new();
    loop {
        let (thread, signal) = match waitpid(None, Some(traced_here())) {
            Ok(WaitStatus::PtraceSyscall(thread)) => {
                if let Some(place) = entered.iter().position(|entered| *entered == thread) {
                    entered.swap_remove(place);
                    calls += usize::from(has_effect(thread));
                } else {
                    entered.push(thread);
                }
                (thread, None)
            }
            Ok(WaitStatus::PtraceEvent(thread, _, _)) => (thread, None),
            Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => continue,
            Ok(status) => panic!("{status:?}"),
            // Nothing is traced any more: it has ended.
            Err(_) => return false,
        };
        if calls == moment {
            return true;
        }
        // A thread may be gone already.
        let _ = ptrace::syscall(thread, signal.filter(|signal| *signal != Signal::SIGTRAP));
    }
}

/// Whether the system call that a stopped thread has come out of may have
/// changed something.
fn has_effect(thread: Pid) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{thread}/syscall")) else {
        return true;
    };
    let number = text
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok());
    number.is_none_or(|number: libc::c_long| !WITHOUT_EFFECT.contains(&number))
}

fn assert_clean(node: &Node, pod: &Pod, moment: usize) {
    assert_eq!(node.links(), ["lo"], "{moment}");
    assert_eq!(node.leased(), Vec::<String>::new(), "{moment}");
    let mut inside = Rtnetlink::open_in(&pod.namespace).unwrap();
    assert_eq!(inside.link("eth0").unwrap(), None, "{moment}");
    let dump = || Nft::open().unwrap().dump("podway-hostports").unwrap();
    let table = node.namespace.run(dump).unwrap().unwrap_or_default();
    for (name, set) in table.sets {
        assert!(set.elements.is_empty(), "{moment}: {name} {set:?}");
    }
}

/// Fewer moments than the calls which make an interface, limits and host ports
/// would mean that nothing was tried.
const FEWEST: usize = 20;

#[test]
fn after_a_killed_add_del_leaves_nothing_and_add_works() {
    let node = Node::new();
    let config = config(&node);
    let pod = node.pod("c1");
    let mut moment = 1;
    while killed(&node, "ADD", &pod, &config, moment) {
        node.del(&pod, &config).silent();
        assert_clean(&node, &pod, moment);
        moment += 1;
    }
    assert!(moment > 3 * FEWEST, "{moment}");
    node.del(&pod, &config).silent();
    node.add(&pod, &config).result();
}

#[test]
fn after_a_killed_del_the_next_one_leaves_nothing() {
    let node = Node::new();
    let config = config(&node);
    let pod = node.pod("c1");
    let mut moment = 1;
    loop {
        node.add(&pod, &config).result();
        let came_so_far = killed(&node, "DEL", &pod, &config, moment);
        node.del(&pod, &config).silent();
        assert_clean(&node, &pod, moment);
        if !came_so_far {
            break;
        }
        moment += 1;
    }
    assert!(moment > FEWEST, "{moment}");
}

#[test]
fn after_many_killed_adds_gc_leaves_nothing() {
    let node = Node::new();
    let mut config = config(&node);
    // Each its own host port, so that none is refused.
    let mut pods = Vec::new();
    for moment in 1.. {
        let pod = node.pod(&format!("c{moment}"));
        config["runtimeConfig"]["portMappings"][0]["hostPort"] = json!(moment);
        let came_so_far = killed(&node, "ADD", &pod, &config, 2 * moment);
        pods.push(pod);
        if !came_so_far {
            break;
        }
    }
    assert!(pods.len() > FEWEST, "{}", pods.len());
    config["cni.dev/valid-attachments"] = json!([]);
    node.command("GC", &pods[0], &config).silent();
    for (moment, pod) in pods.iter().enumerate() {
        assert_clean(&node, pod, moment);
    }
}
