//! Recipes as they were once written: what of them stands elsewhere now.
//!
//! ```text
//! size, tokenizer, train             ──▶ [model]
//! icons, related, easy_vqa, focus    ──▶ [data], [align.data], [instruct.data]
//! begin, end                         ──▶ curriculum of the same
//! batch, rate, warmup                ──▶ batch_size, learning_rate, warmup_steps
//! ```

use sensorium_data::caption::RELATED;
use toml::{Table, Value};

/// What keys were called, and are called now.
const RENAMED: [[&str; 2]; 3] =
    [["batch", "batch_size"], ["rate", "learning_rate"], ["warmup", "warmup_steps"]];

/// What a key is called now.
pub(crate) fn renamed(key: &str) -> &str {
    RENAMED.iter().find(|[old, _]| *old == key).map_or(key, |[_, new]| new)
}

/// What a key was called, or is called now.
pub(crate) fn other_name(key: &str) -> Option<&'static str> {
    let names = RENAMED.iter().find(|names| names.contains(&key))?;
    names.iter().find(|name| **name != key).copied()
}

/// Overrides for what is now elsewhere, and the dotted keys whose place they take.
pub(crate) fn translated(recipe: &Table) -> (Vec<String>, Vec<String>) {
    let (mut sets, mut gone) = (Vec::new(), Vec::new());
    for key in ["size", "tokenizer", "train"] {
        sets.extend(recipe.get(key).map(|value| format!("model.{key}={value}")));
        gone.push(key.to_owned());
    }
    let is_new = |recipe: &Table| {
        recipe.contains_key("data")
            || recipe.get("model").is_some_and(|model| model.get("from").is_some())
    };
    match recipe.get("recipe").and_then(Value::as_str) {
        Some("clip") if !is_new(recipe) => {
            sets.push(format!("data.train={}", pairs(recipe)));
            sets.extend(curriculum(recipe).map(|range| format!("data.curriculum={range}")));
            gone.extend(["icons", "icon_share", "related", "begin"].map(str::to_owned));
        }
        Some("text") if !is_new(recipe) => {
            let icons = recipe.get("icons").map(|icons| format!(", icons={icons}"));
            let icons = icons.unwrap_or_default();
            sets.push(format!("data.train=[{{kind='documents'{icons}}}]"));
            gone.push("icons".to_owned());
        }
        Some("llava") if !is_new(recipe) => {
            for stage in ["align", "instruct"] {
                let Some(table) = recipe.get(stage).and_then(Value::as_table) else { continue };
                if is_new(table) {
                    continue;
                }
                let train = match stage {
                    "align" => "[{kind='scene-descriptions'}]".to_owned(),
                    _ => conversations(recipe, table),
                };
                sets.push(format!("{stage}.data.train={train}"));
                let range = curriculum(table);
                sets.extend(range.map(|range| format!("{stage}.data.curriculum={range}")));
                gone.extend(["begin", "end", "focus"].map(|key| format!("{stage}.{key}")));
            }
            gone.push("easy_vqa".to_owned());
        }
        Some("clip" | "text" | "llava") => {}
        _ => return (Vec::new(), Vec::new()),
    }
    (sets, gone)
}

/// Scenes, and icons for their share.
fn pairs(recipe: &Table) -> String {
    let number = |key| recipe.get(key).and_then(as_f64);
    let (related, share) = (number("related"), number("icon_share").unwrap_or_default());
    let related = related.unwrap_or(f64::from(RELATED));
    match recipe.get("icons").filter(|_| share > 0.0) {
        None => format!("[{{kind='scenes', related={related:?}}}]"),
        Some(icons) => format!(
            "[{{kind='scenes', related={related:?}, share={:?}}}, {{kind='icons', path={icons}, \
             share={share:?}}}]",
            1.0 - share
        ),
    }
}

/// Questions about scenes and, for 18 % of them, about easy-VQA's pictures.
fn conversations(recipe: &Table, stage: &Table) -> String {
    let focus = stage.get("focus").map(|focus| format!(", focus={focus}")).unwrap_or_default();
    match recipe.get("easy_vqa") {
        None => format!("[{{kind='scene-conversations'{focus}}}]"),
        Some(path) => format!(
            "[{{kind='scene-conversations'{focus}, share=0.82}}, {{kind='easy-vqa', path={path}, \
             share=0.18}}]"
        ),
    }
}

/// From where to where scenes grow, unless all the way.
fn curriculum(table: &Table) -> Option<String> {
    let number = |key| table.get(key).and_then(as_f64);
    let (begin, end) = (number("begin"), number("end"));
    let range = [begin.unwrap_or(0.0), end.unwrap_or(1.0)];
    (begin.is_some() || end.is_some()).then(|| format!("{range:?}"))
}

fn as_f64(value: &Value) -> Option<f64> {
    value.as_float().or(value.as_integer().map(|whole| whole as f64))
}

#[cfg(test)]
mod tests {
    use crate::recipes::clip::ClipRecipe;
    use crate::recipes::llava::LlavaRecipe;
    use crate::recipes::parse;

    #[test]
    fn what_was_once_written_means_what_is_written_now() {
        let rest = "steps = 2\nbatch = 2\nsave_every = 1\nloss = 'sigmoid'\n\
            schedule = { kind = 'constant', rate = 1e-3, warmup = 1 }\n";
        let now = "steps = 2\nbatch_size = 2\nsave_every = 1\nloss = 'sigmoid'\n\
            schedule = { kind = 'constant', learning_rate = 1e-3, warmup_steps = 1 }\n";
        let older = format!(
            "recipe = 'clip'\nseed = 1\nsize = 'tiny'\ntokenizer = 't.json'\nicons = 'data/icons'\n\
             icon_share = 0.25\nrelated = 0.5\nbegin = 0.4\ntrain = ['clip.text']\n{rest}"
        );
        let newer = format!(
            "recipe = 'clip'\nseed = 1\n{now}[model]\nsize = 'tiny'\ntokenizer = 't.json'\n\
             train = ['clip.text']\n[data]\ncurriculum = [0.4, 1.0]\n[[data.train]]\nkind = 'scenes'\n\
             related = 0.5\nshare = 0.75\n[[data.train]]\nkind = 'icons'\npath = 'data/icons'\n\
             share = 0.25\n"
        );
        let recipe = |text: &str, sets: &[String]| parse::<ClipRecipe>(text, "r.toml", sets);
        assert_eq!(recipe(&older, &[]).unwrap(), recipe(&newer, &[]).unwrap());
        let set = ["tokenizer=\"u.json\"".to_owned()];
        assert_eq!(recipe(&older, &set).unwrap(), recipe(&newer, &set).unwrap());
        let sets = ["batch=3".to_owned(), "schedule.rate=0.5".to_owned()];
        let now = ["batch_size=3".to_owned(), "schedule.learning_rate=0.5".to_owned()];
        assert_eq!(recipe(&older, &now).unwrap(), recipe(&newer, &sets).unwrap());
    }

    #[test]
    fn stages_have_their_own_data() {
        let stage =
            "steps = 2\nbatch = 2\nsave_every = 1\nschedule = { kind = 'constant', rate = 1e-3 }\n";
        let older = format!(
            "recipe = 'llava'\nseed = 1\nsize = 'tiny'\ntokenizer = 't.json'\nimage = 'i'\n\
             backbone = 'b'\neasy_vqa = 'data/easy-vqa'\n[align]\n{stage}[instruct]\n{stage}end = 0.39\n\
             focus = {{ kinds = ['where'], share = 0.9, told = 0.1 }}\n"
        );
        let newer = format!(
            "recipe = 'llava'\nseed = 1\nimage = 'i'\nbackbone = 'b'\n[model]\nsize = 'tiny'\n\
             tokenizer = 't.json'\n[align]\n{stage}[[align.data.train]]\nkind = 'scene-descriptions'\n\
             [instruct]\n{stage}[instruct.data]\ncurriculum = [0.0, 0.39]\n[[instruct.data.train]]\n\
             kind = 'scene-conversations'\nshare = 0.82\n\
             focus = {{ kinds = ['where'], share = 0.9, told = 0.1 }}\n[[instruct.data.train]]\n\
             kind = 'easy-vqa'\npath = 'data/easy-vqa'\nshare = 0.18\n"
        );
        let recipe = |text: &str| parse::<LlavaRecipe>(text, "r.toml", &[]).unwrap();
        assert_eq!(recipe(&older), recipe(&newer));
    }
}
