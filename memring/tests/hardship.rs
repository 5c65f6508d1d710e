//! What the machine does to us: fences that are forbidden, signals without end, limits that are reached.

mod support;

use std::fmt::Display;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memring::{
    Bytes, ClientEnd, Connector, End, Fence, Lanes, Listener, RecvError, Wait, choose_fence,
};
use support::{
    Held, Helper, Scratch, Stage, alone, eventually, eventually_all_asleep, forbid, play, soon,
};

#[test]
fn role() {
    play(&[("echo", echo), ("tax", tax)]);
}

/// Chooses its fence, connects, and sends back what comes until the other side closes.
fn echo(stage: &Stage) {
    choose(stage.get("fence"));
    let mut channel: ClientEnd<Bytes> = Connector::new()
        .wait(stage.wait())
        .lanes(Lanes::Small, Lanes::Small)
        .timeout(support::PATIENCE)
        .connect::<Bytes>(stage.path())
        .expect("connects");
    stage.say("here");
    match stage.get("sandbox") {
        "told" => {
            channel.session().before_sandbox();
            forbid_membarrier();
        }
        "sudden" => forbid_membarrier(),
        _ => {}
    }
    loop {
        match channel.recv() {
            Ok(message) => {
                let message = message.to_vec();
                channel.send(&message).expect("sends");
            }
            Err(RecvError::Ended(End::Closed)) => return stage.say("closed"),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Calls membarrier as fast as it can.
fn tax(stage: &Stage) {
    stage.say("taxing");
    loop {
        // SAFETY: the call takes no memory. Command 1 << 1 is GLOBAL_EXPEDITED.
        #[allow(unsafe_code)]
        unsafe {
            libc::syscall(libc::SYS_membarrier, 1 << 1, 0, 0);
        }
    }
}

fn choose(name: &str) {
    let fence = match name {
        "seqcst" => Fence::SeqCst,
        "asymmetric" => Fence::Asymmetric,
        _ => return,
    };
    choose_fence(fence).expect("the first choice");
}

/// Lets the kernel refuse membarrier to this thread, and to those it starts, from now on.
#[allow(unsafe_code)]
fn forbid_membarrier() {
    forbid(libc::SYS_membarrier, libc::EPERM);
}

/// Answers of a helper whose fence, sandbox and way of waiting are these, with a sleep before each.
fn exchange(fence: &str, sandbox: &str, theirs: &str, sandbox_here: bool) {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::builder().wait(Wait::Park).bind(&path).expect("binds");
    let shown = path.display();
    let arguments: [(&str, &dyn Display); 4] =
        [("path", &shown), ("fence", &fence), ("sandbox", &sandbox), ("wait", &theirs)];
    let mut helper = Helper::start("echo", &arguments);
    let mut channel =
        listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens");
    helper.expect("here");
    if sandbox_here {
        channel.session().before_sandbox();
    }
    for number in 0..2000_u64 {
        // Now and then the other side sleeps for certain.
        if number % 500 == 10 && sandbox.is_empty() && !sandbox_here {
            eventually_all_asleep(helper.pid());
        }
        channel.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
        let answer = channel.recv_deadline(soon()).expect("an answer");
        assert_eq!(*answer, number.to_le_bytes(), "{fence} {sandbox} {theirs}");
    }
    // Both lanes full at once, so both sides sleep for room too.
    let (mut tx, mut rx) = channel.split();
    let sending = std::thread::spawn(move || {
        for number in 0..5000_u64 {
            tx.send_deadline(&[number as u8; 100], soon()).expect("sends");
        }
        tx
    });
    for number in 0..5000_u64 {
        let answer = rx.recv_deadline(soon()).expect("an answer");
        assert_eq!(*answer, [number as u8; 100], "{fence} {sandbox} {theirs}");
    }
    drop((sending.join().unwrap(), rx));
    helper.expect("closed");
    helper.finish();
}

#[test]
fn a_peer_of_any_fence_sleeps_and_wakes() {
    for fence in ["auto", "asymmetric", "seqcst"] {
        for theirs in ["park", "adaptive"] {
            exchange(fence, "", theirs, false);
        }
    }
}

#[test]
fn a_process_of_full_fences_talks_to_any() {
    if !alone("a_process_of_full_fences_talks_to_any") {
        return;
    }
    choose_fence(Fence::SeqCst).expect("the first choice");
    assert!(choose_fence(Fence::Auto).is_err(), "once");
    for fence in ["auto", "seqcst"] {
        exchange(fence, "", "park", false);
    }
}

#[test]
fn a_sandbox_that_forbids_membarrier_costs_time_and_no_message() {
    for sandbox in ["told", "sudden"] {
        for theirs in ["park", "adaptive"] {
            exchange("auto", sandbox, theirs, false);
            exchange("auto", sandbox, theirs, true);
        }
    }
    exchange("auto", "", "park", true);
    exchange("seqcst", "", "park", true);
}

#[test]
fn no_thread_is_started_in_a_sandbox_that_was_announced() {
    if !alone("no_thread_is_started_in_a_sandbox_that_was_announced") {
        return;
    }
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        let mut names: Vec<String> = names.filter_map(Result::ok).collect();
        names.sort();
        names
    };
    // With full fences no notice is sent that would start the drainer by the way.
    choose_fence(Fence::SeqCst).expect("the first choice");
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    server.session().before_sandbox();
    eventually("they have names", || {
        ["watcher", "drainer", "closer"].iter().all(|name| {
            threads().iter().any(|thread| thread.trim_end() == format!("memring-{name}"))
        })
    });
    let before = threads();
    // From here on starting one fails. Nobody waits, so what comes is for the drainer.
    limit(libc::RLIMIT_NPROC, 0);
    forbid(libc::SYS_clone3, libc::EPERM);
    forbid(libc::SYS_clone, libc::EPERM);
    drop(client);
    eventually("the end is noticed", || server.try_send(b"?").is_err());
    assert_eq!(threads(), before);
}

#[test]
fn the_fence_is_chosen_before_the_first_session() {
    if !alone("the_fence_is_chosen_before_the_first_session") {
        return;
    }
    let _pair = memring::pair::<Bytes>().expect("a pair");
    let error = choose_fence(Fence::SeqCst).expect_err("too late");
    assert!(error.to_string().contains("before its first session"), "{error}");
}

#[test]
fn attack_81_a_stranger_that_calls_membarrier_in_a_loop_stops_nobody() {
    let helper = Helper::start("tax", &[]);
    helper.expect("taxing");
    exchange("auto", "", "adaptive", false);
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

#[test]
fn attack_80_signals_without_end_lose_nothing_and_stretch_no_deadline() {
    if !alone("attack_80_signals_without_end_lose_nothing_and_stretch_no_deadline") {
        return;
    }
    // SAFETY: the handler stores to an atomic; both structures are live and whole.
    #[allow(unsafe_code)]
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as *const () as usize; // and no SA_RESTART
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        let period = libc::timeval { tv_sec: 0, tv_usec: 500 };
        let timer = libc::itimerval { it_interval: period, it_value: period };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    eventually("a signal", || INTERRUPTED.load(Ordering::Relaxed));
    for theirs in ["park", "adaptive"] {
        exchange("auto", "", theirs, false);
    }
    let (mut server, _client) = memring::pair::<Bytes>().expect("a pair");
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut one, _other) = Connector::new().wait(wait).pair::<Bytes>().expect("a pair");
        let until = Instant::now() + Duration::from_millis(50);
        let received = one.recv_deadline(until).map(|_| ());
        assert!(matches!(received, Err(RecvError::TimedOut)), "{received:?}");
        assert!(Instant::now() >= until, "not before its time");
    }
    while server.try_send(b"fill").is_ok() {}
    let until = Instant::now() + Duration::from_millis(50);
    assert!(server.send_deadline(b"no room", until).is_err());
    assert!(Instant::now() >= until, "not before its time");
}

#[test]
fn attack_80_a_kernel_without_waiting_on_two_words_wakes_all_the_same() {
    if !alone("attack_80_a_kernel_without_waiting_on_two_words_wakes_all_the_same") {
        return;
    }
    forbid(libc::SYS_futex_waitv, libc::ENOSYS);
    exchange("auto", "", "park", false);
    exchange("seqcst", "", "adaptive", true);
    // A death still ends a wait.
    let (server, client) = Connector::new().wait(Wait::Park).pair::<Bytes>().expect("a pair");
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let mut client = client;
        tell.send(support::tid()).unwrap();
        client.recv_deadline(soon()).map(|_| ())
    });
    support::eventually_asleep(told.recv().unwrap());
    drop(server);
    let end = waiting.join().unwrap();
    assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
}

/// Sets a limit of this process, soft and hard.
fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limits = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limits` is live and whole.
    #[allow(unsafe_code)]
    let set = unsafe { libc::setrlimit(resource, &raw const limits) };
    assert_eq!(set, 0);
}

#[test]
fn attack_79_limits_of_the_process_are_typed_errors() {
    if !alone("attack_79_limits_of_the_process_are_typed_errors") {
        return;
    }
    let failed = |what: &str| match memring::pair::<Bytes>() {
        Ok(_) => panic!("{what}: a pair came about"),
        Err(error) => io::Error::from(error),
    };
    for (what, resource, most) in [
        // A file that grows beyond it would kill the process with SIGXFSZ.
        ("file size", libc::RLIMIT_FSIZE, 4096),
        ("descriptors", libc::RLIMIT_NOFILE, 4),
        ("address space", libc::RLIMIT_AS, 1 << 20),
    ] {
        let child = support::Forked::start(|| {
            limit(resource, most);
            let error = failed(what);
            assert!(!error.to_string().is_empty());
        });
        assert!(child.wait(), "{what}");
    }
    // With one descriptor more each time, until there are enough: no step fails badly, nothing leaks.
    let child = support::Forked::start(|| {
        drop(memring::pair::<Bytes>().expect("what is needed once is there"));
        let held = Held::settled();
        let open = held.fds.len() as u64;
        let mut successes = 0;
        for more in 0..40 {
            let limits = libc::rlimit { rlim_cur: open + more, rlim_max: 1024 };
            // SAFETY: `limits` is live and whole.
            #[allow(unsafe_code)]
            let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
            assert_eq!(set, 0);
            match memring::pair::<Bytes>() {
                Ok((mut server, mut client)) => {
                    server.send(b"enough").expect("sends");
                    assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"enough");
                    successes += 1;
                }
                // What was closed a moment before may still be open, so more is not always enough.
                Err(error) => assert!(more < 30, "{more} are enough: {error}"),
            }
        }
        assert!(successes > 0);
        let limits = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        // SAFETY: `limits` is live and whole.
        #[allow(unsafe_code)]
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
        assert_eq!(set, 0);
        held.eventually_again();
    });
    assert!(child.wait(), "descriptors, one more each time");
}

#[test]
fn attack_07_a_listener_without_descriptors_pauses_and_resumes() {
    if !alone("attack_07_a_listener_without_descriptors_pauses_and_resumes") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let shown = path.display();
    let arguments: [(&str, &dyn Display); 4] =
        [("path", &shown), ("fence", &"auto"), ("sandbox", &""), ("wait", &"park")];
    let mut helper = Helper::start("echo", &arguments);
    // Use all there are.
    let limits = libc::rlimit { rlim_cur: 64, rlim_max: 1024 };
    // SAFETY: `limits` is live and whole.
    #[allow(unsafe_code)]
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    assert_eq!(set, 0);
    let mut used = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        used.push(file);
    }
    let short = Instant::now() + Duration::from_millis(300);
    assert!(listener.accept_deadline(short).is_err());
    let failed = listener.turned().failed;
    assert!((1..100).contains(&failed), "{failed} failures in 300 ms: no busy loop");
    drop(used);
    let mut channel =
        listener.accept_deadline(soon()).expect("resumes").open::<Bytes>().expect("opens");
    helper.expect("here");
    channel.send(b"here").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"here");
    drop(channel);
    helper.expect("closed");
    helper.finish();
}
