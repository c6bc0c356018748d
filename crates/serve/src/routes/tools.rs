//! Functions that a model may call: told to it in words, and found in what it says.
//!
//! The words are those that Qwen and the models after Hermes have learned:
//! `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

use sensorium_inference::Grammar;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::ids::id;
use crate::sampling::schema;

/// A function.
#[derive(Clone, Debug, Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Option<Value>,
}

/// Functions, and whether they have to be called.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    functions: Vec<Function>,
    /// A function is called, whatever the model would rather say.
    required: bool,
}

/// Most functions.
const FUNCTIONS: usize = 128;

impl Tools {
    /// Of the fields `tools` and `tool_choice`, in OpenAI's two forms.
    ///
    /// # Errors
    /// A tool that is no function, a choice that is none of them.
    pub fn take(fields: &mut Fields) -> Result<Self> {
        let tools: Vec<Map<String, Value>> = fields.take("tools")?.unwrap_or_default();
        let choice: Option<Value> = fields.take("tool_choice")?;
        if tools.len() > FUNCTIONS {
            let message = format!("expected at most {FUNCTIONS} tools, got {}", tools.len());
            return Err(ApiError::invalid("tools", message));
        }
        let functions = tools.into_iter().enumerate().map(|(i, tool)| function(tool, i));
        let all = Self { functions: functions.collect::<Result<_>>()?, required: false };
        all.chosen(choice)
    }

    fn chosen(mut self, choice: Option<Value>) -> Result<Self> {
        let wrong = |message: String| Err(ApiError::invalid("tool_choice", message));
        let names: Vec<String> = match &choice {
            None => return Ok(self),
            Some(Value::String(word)) => match &**word {
                "auto" => return Ok(self),
                "none" => return Ok(Self::default()),
                "required" | "any" if self.functions.is_empty() => {
                    return wrong("expected tools beside `required`, got none".to_owned());
                }
                "required" | "any" => {
                    self.required = true;
                    return Ok(self);
                }
                other => {
                    return wrong(format!(
                        "expected none, auto, required or a function, got {other:?}"
                    ));
                }
            },
            Some(choice) => named(choice),
        };
        let known = |name: &String| self.functions.iter().any(|function| function.name == *name);
        if let Some(unknown) = names.iter().find(|name| !known(name)) {
            return wrong(format!("expected one of the tools, got {unknown:?}"));
        }
        if names.is_empty() {
            return wrong("expected none, auto, required or a function".to_owned());
        }
        self.functions.retain(|function| names.contains(&function.name));
        let allowed = choice.as_ref().and_then(|choice| choice.get("allowed_tools"));
        let mode = allowed.and_then(|allowed| allowed.get("mode")).and_then(Value::as_str);
        self.required = mode != Some("auto");
        Ok(self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// What tells a model of them.
    pub fn words(&self) -> String {
        let tool = |function: &Function| {
            let Function { name, description, parameters } = function;
            let parameters = parameters.clone().unwrap_or_else(|| json!({"type": "object"}));
            let tool = json!({"name": name, "description": description, "parameters": parameters});
            json!({"type": "function", "function": tool}).to_string()
        };
        let tools: Vec<String> = self.functions.iter().map(tool).collect();
        format!(
            "You may call functions. Their signatures:\n<tools>\n{}\n</tools>\nTo call one, answer with nothing but\n<tool_call>\n{{\"name\": NAME, \"arguments\": OBJECT}}\n</tool_call>",
            tools.join("\n")
        )
    }

    /// What an answer is held to, where a function has to be called: its name and arguments.
    ///
    /// # Errors
    /// Parameters that are no schema.
    pub fn grammar(&self) -> Result<Option<Grammar>> {
        if !self.required {
            return Ok(None);
        }
        let call = |function: &Function| {
            let arguments =
                function.parameters.clone().unwrap_or_else(|| json!({"type": "object"}));
            json!({
                "type": "object",
                "properties": {"name": {"const": function.name}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": false
            })
        };
        let calls: Vec<Value> = self.functions.iter().map(call).collect();
        schema(json!({"anyOf": calls}), "tools").map(Some)
    }

    /// The calls in an answer, and the words around them.
    pub fn calls(&self, text: &str) -> (String, Vec<Call>) {
        if self.is_empty() {
            return (text.to_owned(), Vec::new());
        }
        let (mut words, mut calls, mut rest) = (String::new(), Vec::new(), text);
        while let Some((before, after)) = rest.split_once("<tool_call>") {
            let (inside, behind) = after.split_once("</tool_call>").unwrap_or((after, ""));
            match self.call(inside) {
                Some(call) => {
                    words.push_str(before);
                    calls.push(call);
                }
                None => words.push_str(&rest[..rest.len() - behind.len()]),
            }
            rest = behind;
        }
        match self.call(rest) {
            Some(call) => calls.push(call),
            None => words.push_str(rest),
        }
        (words.trim().to_owned(), calls)
    }

    fn call(&self, text: &str) -> Option<Call> {
        #[derive(Deserialize)]
        struct Said {
            name: String,
            #[serde(alias = "parameters")]
            arguments: Map<String, Value>,
        }
        let said: Said = serde_json::from_str(text.trim()).ok()?;
        let known = self.functions.iter().any(|function| function.name == said.name);
        known.then(|| Call {
            id: id("call_"),
            name: said.name,
            arguments: Value::Object(said.arguments).to_string(),
        })
    }
}

/// A function that is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name in the conversation.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// An object of JSON.
    pub arguments: String,
}

impl Call {
    /// As chat completions have it.
    pub fn chat(&self) -> Value {
        let Self { id, name, arguments } = self;
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }
}

/// `{"type": "function", "function": {...}}`, or the same without the inner object.
fn function(tool: Map<String, Value>, i: usize) -> Result<Function> {
    let param = format!("tools[{i}]");
    let mut fields = Fields::new(tool.clone(), &param);
    let kind: Option<String> = fields.take("type")?;
    if let Some(other) = kind.filter(|kind| kind != "function") {
        let message = format!("expected tools of the type function, got {other:?}");
        return Err(ApiError::invalid(format!("{param}.type"), message));
    }
    match fields.take("function")? {
        Some(function) => Ok(function),
        None => fields_of(tool, &param),
    }
}

fn fields_of(tool: Map<String, Value>, param: &str) -> Result<Function> {
    let read = serde_json::from_value(Value::Object(tool));
    read.map_err(|_| ApiError::invalid(param, "expected a function with a name"))
}

/// The names in a choice, in any of its forms.
fn named(choice: &Value) -> Vec<String> {
    let name = |value: &Value| {
        let inner = value.get("function").unwrap_or(value);
        inner.get("name").and_then(Value::as_str).map(str::to_owned)
    };
    match choice.get("allowed_tools").and_then(|allowed| allowed.get("tools")) {
        Some(Value::Array(tools)) => tools.iter().filter_map(name).collect(),
        _ => name(choice).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(choice: Value) -> Result<Tools> {
        let tool = |name| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
        let body = json!({"tools": [tool("f"), tool("g")], "tool_choice": choice});
        Tools::take(&mut Fields::read(body.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn calls_are_found_in_what_is_said() {
        let tools = tools(json!("auto")).unwrap();
        assert_eq!(tools.grammar().unwrap(), None);
        let call = "{\"name\": \"f\", \"arguments\": {\"x\": 1}}";
        let cases = [
            ("hello".to_owned(), "hello", 0),
            (call.to_owned(), "", 1),
            (format!("well <tool_call>{call}</tool_call>"), "well", 1),
            (format!("<tool_call>{call}</tool_call>\n<tool_call>{call}"), "", 2),
            ("<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call>".to_owned(), "", 0),
        ];
        for (text, words, n) in cases {
            let (said, calls) = tools.calls(&text);
            assert_eq!(calls.len(), n, "{text}");
            if n > 0 || !text.contains("tool_call") {
                assert_eq!(said, words, "{text}");
            } else {
                assert_eq!(said, text, "what is no call stays");
            }
            for call in calls {
                assert_eq!((&*call.name, &*call.arguments), ("f", "{\"x\":1}"));
            }
        }
    }

    #[test]
    fn a_choice_is_one_of_the_tools() {
        for (choice, functions, required) in [
            (json!("auto"), 2, false),
            (json!("none"), 0, false),
            (json!("required"), 2, true),
            (json!({"type": "function", "function": {"name": "g"}}), 1, true),
            (json!({"type": "function", "name": "g"}), 1, true),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}}),
                1,
                false,
            ),
        ] {
            let tools = tools(choice.clone()).unwrap();
            assert_eq!((tools.functions.len(), tools.required), (functions, required), "{choice}");
            assert_eq!(tools.grammar().unwrap().is_some(), required);
        }
        for wrong in [json!("x"), json!({}), json!({"type": "function", "function": {"name": "h"}})]
        {
            assert_eq!(tools(wrong).unwrap_err().param.as_deref(), Some("tool_choice"));
        }
    }
}
