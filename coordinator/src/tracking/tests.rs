//! Trackers that work, fail, hang and change hands.

use std::sync::Mutex;

use headstart::run_file;
use tokio::time::Instant;

use super::*;

/// Metrics of `steps` steps.
fn metrics(steps: usize) -> String {
    (1..=steps).map(|step| format!("{{\"step\":{step},\"time\":{step}.5,\"loss\":0.5}}\n")).collect()
}

fn spec(report_to: &str) -> RunSpec {
    let text = format!(
        "base_model: m\ntask: image-classification\ndatasets: [{{path: d}}]\noutput_dir: o\nreport_to: {report_to}\n"
    );
    run_file::parse("run.yaml", &text, &[]).expect("a run file")
}

/// Lines of metrics and the end, as a tracker was told of them.
type Told = Vec<(usize, Option<End>)>;

/// A tracker that does what each attempt is told to.
struct Scripted {
    attempts: Vec<Attempt>,
    seen: Arc<Mutex<Told>>,
}

#[derive(Clone, Copy)]
enum Attempt {
    Works,
    Fails,
    Hangs,
}

impl Tracker for Scripted {
    type Error = std::fmt::Error;

    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn report(&mut self, news: &News) -> Result<(), std::fmt::Error> {
        let attempt = if self.attempts.len() > 1 { self.attempts.remove(0) } else { self.attempts[0] };
        match attempt {
            Attempt::Works => {
                let mut seen = self.seen.lock().expect("nobody panicked");
                seen.push((news.metrics.lines().count(), news.end));
                Ok(())
            }
            Attempt::Fails => Err(std::fmt::Error),
            Attempt::Hangs => std::future::pending().await,
        }
    }
}

/// A run of two commits that ends after an hour; how long its end took, and what the tracker saw.
async fn run(attempts: &[Attempt]) -> (Duration, Told) {
    let (sender, followed) = watch::channel(News::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tracker = Scripted { attempts: attempts.to_vec(), seen: seen.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(tracker, followed, IMPATIENCE));
    let trackers = Trackers { tasks, news: Committed(Some(Arc::new(sender))) };
    sleep(Duration::from_secs(60)).await;
    trackers.committed().tell(&metrics(5));
    sleep(Duration::from_secs(3600)).await;
    trackers.committed().tell(&metrics(9));
    let began = Instant::now();
    trackers.end(End::Finished).await;
    let seen = seen.lock().expect("nobody panicked").clone();
    (began.elapsed(), seen)
}

#[tokio::test(start_paused = true)]
async fn a_tracker_is_told_of_each_commit_and_of_the_end() {
    let (took, seen) = run(&[Attempt::Works]).await;
    assert_eq!((took, seen[..2].to_vec()), (Duration::ZERO, vec![(0, None), (5, None)]));
    assert_eq!(seen.last(), Some(&(9, Some(End::Finished))));
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_fails_for_a_while_gets_everything_later() {
    let (_, seen) = run(&[Attempt::Fails, Attempt::Fails, Attempt::Fails, Attempt::Works]).await;
    assert_eq!(seen.first(), Some(&(0, None)), "pauses are short at first");
    assert_eq!(seen.last(), Some(&(9, Some(End::Finished))));
}

#[tokio::test(start_paused = true)]
async fn a_tracker_that_is_gone_or_hangs_does_not_hold_up_the_end() {
    assert_eq!(run(&[Attempt::Fails]).await, (Duration::ZERO, vec![]));
    assert_eq!(run(&[Attempt::Hangs]).await, (IMPATIENCE, vec![]));
    let (took, seen) = run(&[Attempt::Works, Attempt::Works, Attempt::Hangs]).await;
    assert_eq!((took, seen.len()), (PATIENCE, 2));
}

/// Files under `tensorboard/`, by name, with their sizes.
async fn files(output: &Location) -> Vec<(String, u64)> {
    let listed = output.join("tensorboard").expect("a name").list().await.expect("it can be listed");
    let name = |file: &Location| file.url().rsplit('/').next().unwrap_or_default().to_owned();
    listed.iter().map(|(file, meta)| (name(file), meta.size)).collect()
}

#[tokio::test]
async fn event_files_hold_each_line_once_whoever_writes_them() {
    let output = Location::memory("run");
    let news = |steps| News { metrics: metrics(steps).into(), end: None };
    let tracker = || TensorBoard::new(&output, "r").expect("a directory");
    let mut first = tracker();
    first.report(&news(0)).await.expect("it is writable");
    assert_eq!(files(&output).await, [], "nothing is committed");
    first.report(&news(5)).await.expect("it is writable");
    first.report(&news(5)).await.expect("it is writable");
    let one = files(&output).await;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].0, "events.out.tfevents.0000000005.headstart.r");
    // Another coordinator goes on from the commit before, and then from there.
    let mut second = tracker();
    second.report(&news(3)).await.expect("it is writable");
    second.report(&news(5)).await.expect("it is writable");
    assert_eq!(files(&output).await, one);
    second.report(&news(10)).await.expect("it is writable");
    first.report(&news(10)).await.expect("what is there already is as good");
    let two = files(&output).await;
    assert_eq!(two.len(), 2);
    assert_eq!(two[1].0, "events.out.tfevents.0000000010.headstart.r");
    assert_eq!(two[0].1, two[1].1, "as many lines in each");
}

#[tokio::test]
async fn a_run_reports_to_nobody_unless_its_file_says_so() {
    let output = Location::memory("run");
    for (report_to, started) in [("none", 0), ("mlflow", 0), ("[tensorboard, mlflow]", 1)] {
        // No variable names a server of MLflow: that is warned of.
        let spec = spec(report_to);
        let run = Tracked { spec: &spec, run_id: "r", output: &output, metrics: "", began: 0.0 };
        let trackers = Trackers::start(run, &Variables::default());
        assert_eq!(trackers.tasks.len(), started, "{report_to}");
        trackers.committed().tell(&metrics(2));
        trackers.end(End::Finished).await;
    }
    assert_eq!(files(&output).await.len(), 1);
}
