use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::audit;
use crate::ui::sample;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// A form of JSON that scripts rely on.
struct Contract {
    schema: Value,
    /// Its file.
    file: &'static str,
    /// Where its members are explained.
    pages: &'static [&'static str],
}

fn contracts() -> [Contract; 3] {
    [
        Contract {
            schema: schema(),
            file: "report.schema.json",
            pages: &["report.md"],
        },
        Contract {
            schema: node_schema(),
            file: "node.schema.json",
            pages: &["node.md", "report.md"],
        },
        Contract {
            schema: audit::schema(),
            file: "audit.schema.json",
            pages: &["node.md"],
        },
    ]
}

#[test]
fn the_schema_file_is_current() {
    for Contract { schema, file, pages } in contracts() {
        let path = docs(file);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{schema:#}\n")).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            serde_json::from_str::<Value>(&text).ok() == Some(schema),
            "docs/{file} is not what the code says. If the change is meant, raise the version of the contract where a \
             member changed its meaning or went away, tell it in docs/{}, and regenerate the file:\n\
             UPDATE=1 cargo test -p tracer --lib report::tests::the_schema_file_is_current",
            pages[0]
        );
    }
}

#[test]
fn every_member_is_in_the_documentation() {
    for Contract { schema, file, pages } in contracts() {
        let text: String = pages
            .iter()
            .map(|page| std::fs::read_to_string(docs(page)).unwrap())
            .collect();
        let types = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for member in types
            .filter_map(|one| one["properties"].as_object())
            .flat_map(|members| members.keys())
        {
            assert!(
                text.contains(&format!("`{member}`")),
                "{pages:?} say nothing about `{member}` of {file}"
            );
        }
    }
}

#[test]
fn every_value_of_the_audit_is_in_the_documentation() {
    let text = std::fs::read_to_string(docs("node.md")).unwrap();
    let schema = audit::schema();
    for name in ["Effect", "Idle", "Trap"] {
        let values = schema["$defs"][name]["oneOf"].as_array().unwrap();
        for value in values.iter().map(|one| one["const"].as_str().unwrap()) {
            assert!(
                text.contains(&format!("`{value}`")),
                "docs/node.md says nothing about `{value}`"
            );
        }
    }
}

#[test]
fn what_node_and_audit_print_is_valid() {
    let node = sample::alone();
    let value = serde_json::to_value(&node).unwrap();
    assert_eq!(validate(&value, &node_schema()), Ok(()));
    assert_eq!(serde_json::from_value::<NodeReport>(value).unwrap(), node);
    let audit = sample::audit();
    let value = serde_json::to_value(&audit).unwrap();
    assert_eq!(validate(&value, &audit::schema()), Ok(()));
    assert_eq!(serde_json::from_value::<audit::Audit>(value).unwrap(), audit);
}

#[test]
fn reports_are_valid_and_survive_the_way_through_json() {
    for report in sample::all() {
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(validate(&value, &schema()), Ok(()));
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
    }
    let filter = crate::filter::Filter {
        pid: Some(1),
        ..Default::default()
    };
    let filtered = serde_json::to_value(filter.apply(sample::incident())).unwrap();
    assert_eq!(validate(&filtered, &schema()), Ok(()));
}

#[test]
fn what_scripts_rely_on_is_there() {
    let value = serde_json::to_value(sample::incident()).unwrap();
    assert_eq!(
        value["schema"],
        json!({ "name": "tracer.report", "version": SCHEMA_VERSION })
    );
    assert_eq!(value["where"], "guest-kernel");
    assert_eq!(value["verdicts"][0]["where"], "guest-kernel");
    assert_eq!(value["verdicts"][0]["confidence"], "conclusive");
    assert_eq!(value["drops"][0]["class"], "state");
    assert_eq!(value["drops"][0]["socket_found"], true);
    assert_eq!(value["capabilities"][0]["state"], "available");
    assert!(value.get("filter").is_none());
}

#[test]
fn places_have_one_name() {
    for place in [
        Where::Healthy,
        Where::DataPath,
        Where::GuestKernel,
        Where::Process,
        Where::Unknown,
    ] {
        assert_eq!(serde_json::to_value(place).unwrap(), place.name());
    }
}

#[test]
fn what_is_wrong_is_found() {
    let damaged = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(sample::incident()).unwrap();
        change(&mut value);
        validate(&value, &schema()).unwrap_err()
    };
    assert!(damaged(&|v| v["where"] = json!("elsewhere")).contains(".where"));
    assert!(damaged(&|v| v["ledger"]["arrived"] = json!(-1)).contains(".ledger.arrived"));
    assert!(damaged(&|v| v["ledger"]["arrived"] = json!(1.5)).contains(".ledger.arrived"));
    assert!(damaged(&|v| v["verdicts"][0]["check"][0] = json!(7)).contains(".verdicts[0].check[0]"));
    assert!(
        damaged(&|v| drop(v["drops"][0].as_object_mut().unwrap().remove("reason"))).contains(".drops[0]")
    );
    assert!(damaged(&|v| v["filter"] = json!({ "text": "x" })).contains(".filter"));
}

/// Whether the value is what the schema asks for; else where it is not. Knows the part of JSON Schema
/// that schemars writes, and panics at any other, so that nothing goes unchecked.
fn validate(value: &Value, root: &Value) -> Result<(), String> {
    Validator { root }.check("", value, root)
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, at: &str, value: &Value, schema: &Value) -> Result<(), String> {
        for (keyword, argument) in schema.as_object().unwrap() {
            let holds = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "format" | "default" => true,
                "$ref" => {
                    let name = argument.as_str().unwrap().strip_prefix("#/").unwrap();
                    self.check(at, value, self.root.pointer(&format!("/{name}")).unwrap())?;
                    true
                }
                "type" => match argument {
                    Value::Array(types) => types.iter().any(|one| is_a(value, one)),
                    one => is_a(value, one),
                },
                "const" => value == argument,
                "enum" => argument.as_array().unwrap().contains(value),
                "minimum" => value
                    .as_f64()
                    .is_none_or(|number| number >= argument.as_f64().unwrap()),
                "maximum" => value
                    .as_f64()
                    .is_none_or(|number| number <= argument.as_f64().unwrap()),
                "required" => argument
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" => {
                    for (name, schema) in argument.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check(&format!("{at}.{name}"), member, schema)?;
                        }
                    }
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(&format!("{at}[{index}]"), item, argument)?;
                    }
                    true
                }
                "oneOf" => self.fitting(at, value, argument) == 1,
                "anyOf" => self.fitting(at, value, argument) > 0,
                other => panic!("the keyword {other} is not known here: teach it to the validator"),
            };
            if !holds {
                return Err(format!("{at}: {value} does not meet {keyword} {argument}"));
            }
        }
        Ok(())
    }

    fn fitting(&self, at: &str, value: &Value, schemas: &Value) -> usize {
        schemas
            .as_array()
            .unwrap()
            .iter()
            .filter(|schema| self.check(at, value, schema).is_ok())
            .count()
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the type {other} is not known here"),
    }
}
