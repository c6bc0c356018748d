//! temporary driver
use std::path::PathBuf;
fn main() {
    let mut args = std::env::args().skip(1);
    let recipe = PathBuf::from(args.next().expect("recipe"));
    let dir = PathBuf::from(args.next().expect("dir"));
    let rest: Vec<String> = args.collect();
    let resume = rest.iter().any(|a| a == "resume");
    let sets: Vec<String> = rest.into_iter().filter(|a| a != "resume").collect();
    let options = sensorium_train::run::RunOptions { dir, resume, stop_after: None };
    if let Err(error) = sensorium_train::recipes::train(&recipe, &sets, &options) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}
