//! `goldens/table_encoder`: our encoder of tables' rows.

use sensorium_encoder::table::{TableEncoder, TableEncoderConfig};
use sensorium_flow::{Cell, Encode, Rows};
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, input, size, weights};

fn config(golden: &Golden) -> TableEncoderConfig {
    let size = |key: &str| size(golden, &format!("/{key}"));
    TableEncoderConfig {
        embed: size("embed"),
        columns: size("columns/0"),
        rates: size("rates"),
        hidden_size: size("hidden_size"),
        n_layers: size("num_hidden_layers"),
        n_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
    }
}

fn rows(golden: &Golden) -> Rows {
    let config = golden.config();
    let numbers = |key: &str| -> Vec<Vec<usize>> {
        serde_json::from_value(config[key].clone()).expect("rows of numbers")
    };
    let kinds = [Cell::Number, Cell::Category, Cell::Missing];
    let columns: Vec<usize> = serde_json::from_value(config["columns"].clone()).expect("numbers");
    Rows {
        names: input(golden, "names"),
        categories: input(golden, "categories"),
        numbers: input(golden, "numbers"),
        cells: numbers("cells").into_iter().flatten().map(|kind| kinds[kind]).collect(),
        columns: columns.into(),
    }
}

#[test]
fn table_encoder() {
    let golden = Golden::open("table_encoder");
    let table = TableEncoder::init(&config(&golden), &mut Init::new(1, &device().autodiff()));
    let table = load::load(table, &weights(&golden)).expect("the golden's names are ours");
    let rows = rows(&golden);
    let target: Tensor<3> = input(&golden, "target");
    let loss =
        |table: &TableEncoder| (table.encode(rows.clone()).0 - target.clone()).square().mean();

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("blocks.0", table.hidden(&rows, 1));
    check("blocks.1", table.hidden(&rows, 2));
    check("last_hidden_state", table.encode(rows.clone()).0);
    report.check("loss", &[1], &read(loss(&table)));
    report.finish();
    assert_same_gradients(&golden, &table, loss(&table), str::to_owned);
    assert_losses(&curve(table, loss), &golden.losses(), CURVE);
}
