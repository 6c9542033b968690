//! MLflow: a run of a tracking server, by the requests of its REST interface, version 2.0.
//!
//! The run is found by a tag that holds our run's id. Which metrics it has is asked, not remembered: of each, the server tells
//! the last step, and only later steps are sent. So whatever became of a request whose answer was lost, and whoever sent it,
//! nothing is sent twice.

mod params;

use std::collections::BTreeMap;

use headstart::mlflow::{Client, Experiment, MlflowError, Server};
use serde_json::{Value, json};

use super::lines::{Cursor, Line};
use super::{End, News, Tracked, Tracker};
use params::Param;

/// The tag by which a run is found.
const TAG: &str = "headstart.run_id";
/// Metrics of one request at most: MLflow's own limit.
const MOST_METRICS: usize = 1000;
/// Parameters of one request at most: MLflow's own limit.
const MOST_PARAMS: usize = 100;
/// Lines of metrics that are read before what they hold is sent.
const MOST_LINES: usize = 200;

/// A run of a server.
#[derive(Debug)]
pub(super) struct Mlflow {
    server: Server,
    run_id: String,
    /// What people see it by.
    run_name: String,
    params: Vec<Param>,
    /// Milliseconds since 1970.
    began: i64,
    client: Option<Client>,
    /// The run there, once it is found.
    known: Option<Known>,
    /// How the server was told that the run ended.
    told: Option<End>,
}

/// What the server has of a run.
#[derive(Debug)]
struct Known {
    id: String,
    /// Metrics up to here are there.
    cursor: Cursor,
    /// The last step of each metric.
    steps: BTreeMap<String, i64>,
}

/// A number of one metric.
struct Point {
    key: String,
    value: f64,
    /// Milliseconds since 1970.
    timestamp: i64,
    step: i64,
}

impl Mlflow {
    pub(super) fn new(server: Server, run: Tracked<'_>) -> Mlflow {
        let url = run.output.url().trim_end_matches('/');
        let run_name = url.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(run.run_id);
        Mlflow {
            server,
            run_id: run.run_id.to_owned(),
            run_name: run_name.to_owned(),
            params: params::of(run.spec),
            began: time_of(run.metrics.lines()).unwrap_or(milliseconds(run.began)),
            client: None,
            known: None,
            told: None,
        }
    }

    async fn send(&self, client: &Client, known: &mut Known, news: &News) -> Result<(), MlflowError> {
        loop {
            let (text, after) = known.cursor.next(&news.metrics, MOST_LINES);
            if text.is_empty() {
                return Ok(());
            }
            let points = unknown(text, &mut known.steps);
            for batch in points.chunks(MOST_METRICS) {
                let metrics: Vec<Value> = batch.iter().map(Point::to_json).collect();
                let body = json!({"run_id": known.id, "metrics": metrics});
                client.post("runs/log-batch", &body).await?;
            }
            known.cursor = after;
        }
    }

    /// The run, which is made if it is not there; its parameters are logged.
    async fn find(&self, client: &Client) -> Result<Known, MlflowError> {
        let experiment = self.experiment(client).await?;
        let filter = format!("tags.`{TAG}` = '{}'", self.run_id);
        let body = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1,
            "order_by": ["attributes.start_time ASC"]});
        let found = client.post("runs/search", &body).await?;
        let run = match found["runs"].get(0) {
            Some(run) => run.clone(),
            None => self.create(client, &experiment).await?,
        };
        let id =
            run["info"]["run_id"].as_str().ok_or_else(|| client.odd("runs/search", "a run without an id"))?;
        let texts = |list: &Value, key: &str| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| Some(item[key].as_str()?.to_owned())).collect()
        };
        let logged = texts(&run["data"]["params"], "key");
        let missing: Vec<&Param> = self.params.iter().filter(|param| !logged.contains(&param.key)).collect();
        for batch in missing.chunks(MOST_PARAMS) {
            let params: Vec<Value> =
                batch.iter().map(|param| json!({"key": param.key, "value": param.value})).collect();
            let body = json!({"run_id": id, "params": params});
            client.post("runs/log-batch", &body).await?;
        }
        let metrics = run["data"]["metrics"].as_array().into_iter().flatten();
        let step = |metric: &Value| Some((metric["key"].as_str()?.to_owned(), whole(&metric["step"])?));
        Ok(Known { id: id.to_owned(), cursor: Cursor::default(), steps: metrics.filter_map(step).collect() })
    }

    async fn experiment(&self, client: &Client) -> Result<String, MlflowError> {
        let name = match &self.server.experiment {
            Experiment::Id(id) => return Ok(id.clone()),
            Experiment::Name(name) => name,
        };
        let query = [("experiment_name", name.as_str())];
        let path = "experiments/get-by-name";
        let found = match client.get(path, &query).await {
            Err(error) if error.is("RESOURCE_DOES_NOT_EXIST") => {
                let body = json!({"name": name});
                match client.post("experiments/create", &body).await {
                    // Somebody else was faster.
                    Err(error) if error.is("RESOURCE_ALREADY_EXISTS") => client.get(path, &query).await?,
                    created => created?,
                }
            }
            found => found?,
        };
        let id = found["experiment"]["experiment_id"].as_str().or(found["experiment_id"].as_str());
        id.map(str::to_owned).ok_or_else(|| client.odd(path, "an experiment without an id"))
    }

    async fn create(&self, client: &Client, experiment: &str) -> Result<Value, MlflowError> {
        let tags = [(TAG, self.run_id.as_str()), ("mlflow.source.name", "headstart")];
        let tags = tags.map(|(key, value)| json!({"key": key, "value": value}));
        let body = json!({"experiment_id": experiment, "start_time": self.began, "run_name": self.run_name, "tags": tags});
        let path = "runs/create";
        let mut made = client.post(path, &body).await?;
        match made["run"].take() {
            Value::Null => Err(client.odd(path, "no run")),
            run => Ok(run),
        }
    }

    /// Tells whether the run goes on or how it ended.
    async fn tell(&self, client: &Client, id: &str, news: &News) -> Result<(), MlflowError> {
        let status = match news.end {
            None => "RUNNING",
            Some(End::Finished) => "FINISHED",
            Some(End::Stopped) => "KILLED",
            Some(End::Failed) => "FAILED",
            Some(End::HandedOver) => return Ok(()),
        };
        let mut body = json!({"run_id": id, "status": status});
        if news.end.is_some() {
            body["end_time"] = time_of(news.metrics.lines().rev()).unwrap_or(self.began).into();
        }
        client.post("runs/update", &body).await.map(drop)
    }

    async fn bring_up_to_date(&mut self, news: &News) -> Result<(), MlflowError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::new(self.server.clone())?,
        };
        self.client = Some(client.clone());
        // Taken, so that after a failure, or an await that never came back, the server is asked what it has.
        let mut known = match self.known.take() {
            Some(known) => known,
            None => {
                let known = self.find(&client).await?;
                self.told = None;
                if news.end.is_none() {
                    self.tell(&client, &known.id, news).await?;
                }
                known
            }
        };
        self.send(&client, &mut known, news).await?;
        if news.end.is_some() && self.told != news.end {
            self.tell(&client, &known.id, news).await?;
            self.told = news.end;
        }
        self.known = Some(known);
        Ok(())
    }
}

impl Tracker for Mlflow {
    type Error = MlflowError;

    fn name(&self) -> &'static str {
        "mlflow"
    }

    async fn report(&mut self, news: &News) -> Result<(), MlflowError> {
        self.bring_up_to_date(news).await
    }
}

impl Point {
    fn to_json(&self) -> Value {
        json!({"key": self.key, "value": self.value, "timestamp": self.timestamp, "step": self.step})
    }
}

/// The numbers that come after the last steps of their metrics, which they advance.
fn unknown(text: &str, steps: &mut BTreeMap<String, i64>) -> Vec<Point> {
    let mut points = Vec::new();
    for Line { step, time, values } in text.lines().filter_map(Line::parse) {
        for (key, value) in values {
            let is_later = steps.get(&key).is_none_or(|last| step > *last);
            if is_later {
                steps.insert(key.clone(), step);
                points.push(Point { key, value, timestamp: milliseconds(time), step });
            }
        }
    }
    points
}

fn milliseconds(time: f64) -> i64 {
    (time * 1e3).round() as i64
}

/// When the first of these lines was written, in milliseconds; `None` without lines.
fn time_of<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<i64> {
    lines.find_map(Line::parse).map(|line| milliseconds(line.time))
}

/// A whole number, which some servers write as text.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_sent_once_whatever_the_server_has() {
        let text = "{\"step\":1,\"time\":1.0,\"loss\":0.5}\n{\"step\":2,\"time\":2.0,\"loss\":0.4,\"grad_norm\":1.0}\n";
        let keys = |steps: &mut BTreeMap<String, i64>| -> Vec<(String, i64)> {
            unknown(text, steps).into_iter().map(|point| (point.key, point.step)).collect()
        };
        let (loss, norm) = ("loss".to_owned(), "grad_norm".to_owned());
        let mut steps = BTreeMap::new();
        assert_eq!(keys(&mut steps), [(loss.clone(), 1), (loss.clone(), 2), (norm.clone(), 2)]);
        assert_eq!(keys(&mut steps), [], "all are there");
        // The server took a part of a request.
        assert_eq!(keys(&mut [(loss, 2)].into()), [(norm, 2)]);
    }
}
