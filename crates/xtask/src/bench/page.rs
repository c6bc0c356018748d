//! The page of newest figures: a section for each class of processor, a row for each piece of work, and
//! where each row was measured.

use super::table::HEAD;

/// What a run adds to the page.
#[derive(Debug)]
pub struct Run<'a> {
    /// Class of the processor, the section's name.
    pub class: &'a str,
    /// The day and the commit.
    pub when: &'a str,
    /// The machine, what was repeated, its limits: one line.
    pub machine: &'a str,
    /// Rows of a [`table`](super::table::table), each beginning with `| NAME |`.
    pub rows: Vec<&'a str>,
}

/// `page` with the rows of `run` in its class's section, in the order of `names`, in place of older
/// ones of the same work; machines that no row names any more are left out.
pub fn merged(page: &str, run: &Run<'_>, names: &[String]) -> String {
    let heading = format!("## {}", run.class);
    let mut sections: Vec<String> = sections(page);
    let old = sections.iter().position(|section| section.lines().next() == Some(&heading));
    let lines: Vec<&str> = old.map_or_else(Vec::new, |at| sections[at].lines().collect());
    let section = section(&heading, &lines, run, names);
    match old {
        Some(at) => sections[at] = section,
        None => sections.push(section),
    }
    sections.join("\n\n") + "\n"
}

/// The introduction, then each section.
fn sections(page: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in page.lines() {
        if line.starts_with("## ") {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            *section += line;
            section.push('\n');
        }
    }
    sections.iter().map(|section| section.trim_end().to_owned()).collect()
}

fn section(heading: &str, lines: &[&str], run: &Run<'_>, names: &[String]) -> String {
    let newest = |name: &str| {
        let new = run.rows.iter().find(|row| work(row) == Some(name));
        let new = new.map(|row| format!("{row} {} |", run.when));
        new.or_else(|| {
            lines.iter().find(|row| work(row) == Some(name)).map(|row| (*row).to_owned())
        })
    };
    let rows: Vec<String> = names.iter().filter_map(|name| newest(name)).collect();
    let machine = format!("- {}: {}", run.when, run.machine);
    let older = lines.iter().filter(|line| line.starts_with("- ")).map(|line| (*line).to_owned());
    let mut machines: Vec<String> =
        older.filter(|old| named(old) != Some(run.when)).chain([machine]).collect();
    machines.retain(|line| named(line).is_some_and(|when| used(&rows, when)));
    let [head, rule] = HEAD;
    let table = [&format!("{head} measured |"), &format!("{rule}---|")];
    let table: Vec<&str> = table.into_iter().chain(&rows).map(String::as_str).collect();
    format!("{heading}\n\n{}\n\n{}", table.join("\n"), machines.join("\n"))
}

/// The work that a row is of.
fn work(row: &str) -> Option<&str> {
    row.strip_prefix("| ")?.split(" |").next()
}

/// The run that a line about a machine is of.
fn named(line: &str) -> Option<&str> {
    line.strip_prefix("- ")?.split(": ").next()
}

fn used(rows: &[String], when: &str) -> bool {
    rows.iter().any(|row| row.ends_with(&format!("| {when} |")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(class: &'a str, when: &'a str, rows: &[&'a str]) -> Run<'a> {
        Run { class, when, machine: "a machine", rows: rows.to_vec() }
    }

    fn names() -> Vec<String> {
        ["P1 vit", "P2 vit", "P10 see"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_row_takes_the_place_of_its_elder() {
        let first =
            merged("# Title\n\nWords.\n", &run("AVX2", "day 1", &["| P2 vit | 9 |"]), &names());
        let other = merged(&first, &run("AMX", "day 2", &["| P1 vit | 1 |"]), &names());
        let rows = ["| P10 see | 3 |", "| P1 vit | 2 |"];
        let third = merged(&other, &run("AVX2", "day 3", &rows), &names());
        assert!(third.starts_with("# Title\n\nWords.\n\n## AVX2\n\n| work |"), "{third}");
        let found: Vec<&str> = third.lines().filter(|line| line.contains(" | day ")).collect();
        let avx2 = ["| P1 vit | 2 | day 3 |", "| P2 vit | 9 | day 1 |", "| P10 see | 3 | day 3 |"];
        assert_eq!(found, [&avx2[..], &["| P1 vit | 1 | day 2 |"]].concat());
        let machines: Vec<&str> = third.lines().filter(|line| line.starts_with("- ")).collect();
        assert_eq!(machines.len(), 3, "{third}");
        let fourth = merged(&third, &run("AVX2", "day 4", &["| P2 vit | 8 |"]), &names());
        assert!(!fourth.contains("day 1") && fourth.contains("| P2 vit | 8 | day 4 |"), "{fourth}");
        assert_eq!(merged(&fourth, &run("AVX2", "day 4", &["| P2 vit | 8 |"]), &names()), fourth);
    }
}
