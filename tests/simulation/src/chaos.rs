//! What goes wrong, when, for whom and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use turmoil::Sim;

use crate::dice::Dice;
use crate::network::COORDINATOR;
use crate::scenario::Scenario;

/// A process is away for up to so long.
const AWAY: Duration = Duration::from_secs(20);
/// A line is out of order for up to so long: longer than it takes to notice.
const BROKEN: Duration = Duration::from_secs(40);

/// Of a thousand faults, this number kills the coordinator.
const COORDINATOR_FAULTS: u64 = 200;

/// The faults of a scenario, one after the other.
#[derive(Debug)]
pub struct Chaos {
    dice: Dice,
    left: u64,
    gap: Duration,
    next: Duration,
    /// What ends when. A worker has one fault at a time: turmoil's do not mix.
    under_way: BTreeMap<(Duration, String), Fault>,
    /// What has happened, for people.
    pub happened: Vec<String>,
}

/// One kind of fault of a worker or of its line to the coordinator.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The process dies; its system says goodbye for it. It is started again.
    Killed,
    /// The machine vanishes without a word. It comes back.
    Lost,
    /// Nothing arrives, either way.
    Cut,
    /// Nothing that the worker sends arrives.
    Mute,
    /// Nothing that the coordinator sends arrives.
    Deaf,
    /// Everything arrives, but late.
    Held,
}

const FAULTS: [Fault; 6] = [Fault::Killed, Fault::Lost, Fault::Cut, Fault::Mute, Fault::Deaf, Fault::Held];

impl Chaos {
    /// The faults of a scenario.
    pub fn new(scenario: &Scenario) -> Chaos {
        let dice = Dice::new(scenario.seed, "chaos");
        let (left, gap) = (scenario.faults, scenario.gap);
        Chaos { next: dice.time(gap), dice, left, gap, under_way: BTreeMap::new(), happened: Vec::new() }
    }

    /// Whether everything has happened, and is over.
    pub fn is_over(&self) -> bool {
        self.left == 0 && self.under_way.is_empty()
    }

    /// Does what is due. `workers`: those that are there; `at_work`: those of them that hold a lease.
    pub fn act(&mut self, sim: &mut Sim<'_>, workers: &[String], at_work: &[String]) {
        let now = sim.elapsed();
        while let Some(((ends, _), _)) = self.under_way.first_key_value()
            && *ends <= now
        {
            let ((_, worker), fault) = self.under_way.pop_first().expect("it was there");
            fault.end(sim, &worker);
            self.happened.push(format!("{now:?} {worker}: {fault:?} is over"));
        }
        if self.left == 0 || now < self.next {
            return;
        }
        self.next = now + self.dice.time(self.gap);
        if self.dice.happens(COORDINATOR_FAULTS) {
            return self.begin(sim, COORDINATOR, Fault::Killed);
        }
        // A fault that hits somebody at work says more.
        let among = if self.dice.happens(800) { at_work } else { workers };
        let free: Vec<&String> =
            among.iter().filter(|name| !self.under_way.keys().any(|(_, busy)| busy == *name)).collect();
        let Some(&worker) = self.dice.choose(&free) else { return };
        let fault = *self.dice.choose(&FAULTS).expect("there are some");
        self.begin(sim, worker, fault);
    }

    fn begin(&mut self, sim: &mut Sim<'_>, host: &str, fault: Fault) {
        if self.under_way.keys().any(|(_, busy)| busy == host) {
            return;
        }
        let now = sim.elapsed();
        let longest = if matches!(fault, Fault::Killed | Fault::Lost) { AWAY } else { BROKEN };
        let lasts = self.dice.time(longest);
        fault.begin(sim, host);
        self.left -= 1;
        self.happened.push(format!("{now:?} {host}: {fault:?} for {lasts:?}"));
        self.under_way.insert((now + lasts, host.to_owned()), fault);
    }
}

impl Fault {
    fn begin(self, sim: &mut Sim<'_>, worker: &str) {
        match self {
            Fault::Killed => sim.crash(worker),
            Fault::Lost => {
                sim.partition(worker, COORDINATOR);
                sim.crash(worker);
            }
            Fault::Cut => sim.partition(worker, COORDINATOR),
            Fault::Mute => sim.partition_oneway(worker, COORDINATOR),
            Fault::Deaf => sim.partition_oneway(COORDINATOR, worker),
            Fault::Held => sim.hold(worker, COORDINATOR),
        }
    }

    fn end(self, sim: &mut Sim<'_>, worker: &str) {
        match self {
            Fault::Killed => sim.bounce(worker),
            Fault::Lost => {
                sim.repair(worker, COORDINATOR);
                sim.bounce(worker);
            }
            Fault::Cut => sim.repair(worker, COORDINATOR),
            Fault::Mute => sim.repair_oneway(worker, COORDINATOR),
            Fault::Deaf => sim.repair_oneway(COORDINATOR, worker),
            Fault::Held => sim.release(worker, COORDINATOR),
        }
    }
}
