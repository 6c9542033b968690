//! Whether the trackers of a run file take metrics from this machine.

use headstart::mlflow::{Client, MlflowError, Server, Variables};
use headstart::run_file::{RunSpec, Tracker};

use super::Check;

const NAME: &str = "mlflow";

/// One check for each tracker that is a server. A run goes on without them, so nothing here is a failure.
pub(super) async fn all(spec: &RunSpec) -> Vec<Check> {
    if !spec.report_to.contains(&Tracker::Mlflow) {
        return Vec::new();
    }
    let server = match Server::named_by(&Variables::of_process()) {
        Ok(server) => server,
        Err(why) => return vec![Check::warn(NAME, format!("{why}; the run will send no metrics there"))],
    };
    let url = server.url().to_owned();
    vec![match ask(server).await {
        Ok(()) => Check::ok(NAME, format!("{url} takes metrics")),
        Err(error) => {
            Check::warn(NAME, format!("{error}; the run would go on without it, and try again until its end"))
        }
    }]
}

/// Asks for an experiment that every server has, or says it has not.
async fn ask(server: Server) -> Result<(), MlflowError> {
    match Client::new(server)?.get("experiments/get-by-name", &[("experiment_name", "Default")]).await {
        Err(error) if error.is("RESOURCE_DOES_NOT_EXIST") => Ok(()),
        answer => answer.map(drop),
    }
}
