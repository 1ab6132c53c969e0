//! A page in one piece: its template with every partial in its place, and as text already what the page and its language
//! alone decide. Handlebars copies all that a page is made of for each partial that it enters, and looks for words
//! whenever they are shown; a page in one piece enters none, and its words are there.
//!
//! The piece is made of the parts as Handlebars has parsed them, and Handlebars renders it; it shows what they would. A
//! partial that is used in a way that only Handlebars itself follows (`../`, block parameters, inline partials, computed
//! names) stays where it is called.

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{
    Context, Handlebars, JsonRender as _, JsonTruthy as _, Path, PathSeg, RenderContext, Renderable as _, Template,
};
use serde_json::{Map, Value};

/// Partials within partials; more are taken for partials that use themselves.
const DEEPEST: usize = 8;

/// Helpers, for which a name without anything after it may stand as well as for a value.
const HELPERS: [&str; 19] = [
    "if", "unless", "each", "with", "lookup", "raw", "log", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not",
    "len", "t", "asset",
];

/// The template `page` in one piece, where these values at the root of the data are known; none if it does unusual things
/// itself.
pub fn page(registry: &Handlebars<'_>, page: &str, known: Map<String, Value>) -> Option<Template> {
    let template = registry.get_template(page)?;
    let joiner = Joiner { registry, known: Value::Object(known).into() };
    let scope = Scope { here: Here::Page, named: &[], widened: false, block: None, depth: 0 };
    let elements = joiner.elements(template, scope).ok()?;
    Some(with(template, elements))
}

/// Something that only Handlebars itself follows.
struct Unusual;

type Joined<T> = Result<T, Unusual>;

struct Joiner<'a> {
    registry: &'a Handlebars<'a>,
    known: Context,
}

/// Where a part stands.
#[derive(Clone, Copy)]
struct Scope<'s> {
    here: Here<'s>,
    /// What the partials around were given by name, the innermost last.
    named: &'s [(String, Parameter)],
    /// Whether Handlebars would have added some of that to what `this` is.
    widened: bool,
    /// What stands between the tags of the partial's call.
    block: Option<&'s [TemplateElement]>,
    /// Partials around.
    depth: usize,
}

/// Where paths begin.
#[derive(Clone, Copy)]
enum Here<'s> {
    /// At the root of the data.
    Page,
    /// At what a block around is about: an item of `each`.
    Item,
    /// At what the partial was given: a path from where the block around begins.
    Given(&'s [PathSeg]),
}

impl Joiner<'_> {
    fn elements(&self, template: &Template, scope: Scope<'_>) -> Joined<Vec<TemplateElement>> {
        let mut joined = Vec::new();
        for element in &template.elements {
            match element {
                TemplateElement::Comment(_) => {}
                TemplateElement::RawString(_) => push(&mut joined, element.clone()),
                TemplateElement::Expression(call) => push(&mut joined, self.expression(call, true, scope)?),
                TemplateElement::HtmlExpression(call) => push(&mut joined, self.expression(call, false, scope)?),
                TemplateElement::HelperBlock(call) => {
                    self.block(call, scope)?.into_iter().for_each(|element| push(&mut joined, element));
                }
                TemplateElement::PartialExpression(call) | TemplateElement::PartialBlock(call) => {
                    match self.partial(call, scope) {
                        Ok(elements) => elements.into_iter().for_each(|element| push(&mut joined, element)),
                        Err(Unusual) if scope.depth == 0 => joined.push(element.clone()),
                        Err(unusual) => return Err(unusual),
                    }
                }
                _ => return Err(Unusual),
            }
        }
        Ok(joined)
    }

    /// `{{value}}` or `{{helper value}}`.
    fn expression(&self, call: &HelperTemplate, escaped: bool, scope: Scope<'_>) -> Joined<TemplateElement> {
        let element = |call| match escaped {
            true => TemplateElement::Expression(Box::new(call)),
            false => TemplateElement::HtmlExpression(Box::new(call)),
        };
        let mut joined = self.call(call, scope)?;
        let alone = call.params.is_empty() && call.hash.is_empty();
        if alone && !call.name.as_name().is_some_and(|name| HELPERS.contains(&name)) {
            match self.parameter(&call.name, scope)? {
                Parameter::Literal(value) => {
                    let text = value.render();
                    let text = if escaped { self.registry.get_escape_fn()(&text) } else { text };
                    return Ok(TemplateElement::RawString(text));
                }
                Parameter::Subexpression(inner) => match *inner.element {
                    TemplateElement::Expression(inner) if inner.name.as_name() == Some("t") => {
                        return Ok(element(*inner));
                    }
                    _ => return Err(Unusual),
                },
                name => joined.name = name,
            }
        } else if !alone && is_known(&joined) {
            // What is wrong with it is told when it is shown.
            let made = element(joined.clone()).renders(self.registry, &self.known, &mut RenderContext::new(None));
            return Ok(made.map_or_else(|_| element(joined), TemplateElement::RawString));
        }
        Ok(element(joined))
    }

    /// `{{#helper value}}…{{else}}…{{/helper}}`.
    fn block(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<Vec<TemplateElement>> {
        let name = call.name.as_name().unwrap_or_default();
        let moves = match name {
            "if" | "unless" => false,
            "each" | "with" => true,
            _ => return Err(Unusual),
        };
        if call.block_param.is_some() {
            return Err(Unusual);
        }
        let mut joined = self.call(call, scope)?;
        let inside = if moves { Scope { here: Here::Item, widened: false, block: None, ..scope } } else { scope };
        let within = |template: &Option<Template>, scope| {
            template.as_ref().map(|template| Ok(with(template, self.elements(template, scope)?))).transpose()
        };
        joined.template = within(&call.template, inside)?;
        joined.inverse = within(&call.inverse, scope)?;
        if let (false, [Parameter::Literal(value)], true) = (moves, &*joined.params, joined.hash.is_empty()) {
            let is_met = value.is_truthy(false) == (name == "if");
            let chosen = if is_met { joined.template } else { joined.inverse };
            return Ok(chosen.map(|template| template.elements).unwrap_or_default());
        }
        Ok(vec![TemplateElement::HelperBlock(Box::new(joined))])
    }

    /// `{{> name}}`, `{{> name path}}`, `{{#> name key=value}}…{{/name}}`, `{{> @partial-block}}`.
    fn partial(&self, call: &DecoratorTemplate, scope: Scope<'_>) -> Joined<Vec<TemplateElement>> {
        let name = call.name.as_name().ok_or(Unusual)?;
        if name == "@partial-block" {
            return scope.block.map(<[_]>::to_vec).ok_or(Unusual);
        }
        let template = self.registry.get_template(name).ok_or(Unusual)?;
        if scope.depth == DEEPEST || call.indent.is_some() {
            return Err(Unusual);
        }
        let given = match &*call.params {
            [] => None,
            [path] => match self.parameter(path, scope)? {
                Parameter::Path(Path::Relative((path, _))) if names(&path).is_some() => Some(path),
                _ => return Err(Unusual),
            },
            _ => return Err(Unusual),
        };
        let here = given.as_deref().filter(|path| !path.is_empty()).map_or(scope.here, Here::Given);
        let widened = !call.hash.is_empty() || (scope.widened && !matches!(here, Here::Given(_)));
        let mut named = scope.named.to_vec();
        for (name, value) in &call.hash {
            named.push((name.clone(), self.parameter(value, scope)?));
        }
        let around = Scope { here, named: &named, widened, block: scope.block, depth: scope.depth + 1 };
        let block = call.template.as_ref().map(|block| self.elements(block, around)).transpose()?;
        self.elements(template, Scope { block: block.as_deref(), ..around })
    }

    /// A call with what it is given seen from the page.
    fn call(&self, call: &HelperTemplate, scope: Scope<'_>) -> Joined<HelperTemplate> {
        if call.name.as_name().is_none() {
            return Err(Unusual);
        }
        let mut joined = call.clone();
        for value in joined.params.iter_mut().chain(joined.hash.values_mut()) {
            *value = self.parameter(value, scope)?;
        }
        Ok(joined)
    }

    /// A value seen from the page, itself if it is known.
    fn parameter(&self, value: &Parameter, scope: Scope<'_>) -> Joined<Parameter> {
        match value {
            Parameter::Path(Path::Relative((path, raw))) => match names(path) {
                Some(names) => self.path(value, &names, path, scope),
                None if scope.depth == 0 || raw.starts_with("@root") => Ok(value.clone()),
                None => Err(Unusual),
            },
            Parameter::Path(Path::Local((level, ..))) if *level > 0 && scope.depth > 0 => Err(Unusual),
            Parameter::Subexpression(inner) => {
                let TemplateElement::Expression(call) = &*inner.element else { return Err(Unusual) };
                let call = self.call(call, scope)?;
                let known = is_known(&call);
                let mut inner = inner.clone();
                *inner.element = TemplateElement::Expression(Box::new(call));
                let inner = Parameter::Subexpression(inner);
                let made = match known {
                    true => self.made(&inner),
                    false => None,
                };
                Ok(made.map_or(inner, Parameter::Literal))
            }
            value => Ok(value.clone()),
        }
    }

    /// What comes of a value that needs nothing but what is known; none if that is an error.
    fn made(&self, value: &Parameter) -> Option<Value> {
        let made = value.expand(self.registry, &self.known, &mut RenderContext::new(None)).ok()?;
        Some(made.value().clone())
    }

    /// A path of plain names.
    fn path(&self, value: &Parameter, names: &[&str], path: &[PathSeg], scope: Scope<'_>) -> Joined<Parameter> {
        let first = names.first().copied();
        if let Some((_, given)) = scope.named.iter().rev().find(|(name, _)| Some(&**name) == first) {
            let stays = matches!(given, Parameter::Literal(_)) || !matches!(scope.here, Here::Item);
            return if names.len() == 1 && stays { Ok(given.clone()) } else { Err(Unusual) };
        }
        match (scope.here, names) {
            (_, []) if scope.widened => Err(Unusual),
            (Here::Page, [name]) => {
                let known = self.known.data().get(name).cloned().map(Parameter::Literal);
                Ok(known.unwrap_or_else(|| value.clone()))
            }
            (Here::Page | Here::Item, _) => Ok(value.clone()),
            (Here::Given(given), _) => {
                let whole = [given, path].concat();
                let raw = names_of(&whole).fold("this".to_owned(), |raw, name| raw + "." + name);
                Ok(Parameter::Path(Path::Relative((whole, raw))))
            }
        }
    }
}

fn with(template: &Template, elements: Vec<TemplateElement>) -> Template {
    let mut joined = Template::new();
    joined.name.clone_from(&template.name);
    joined.elements = elements;
    joined
}

/// Whether nothing but what is known is given to a call.
fn is_known(call: &HelperTemplate) -> bool {
    call.params.iter().chain(call.hash.values()).all(|value| matches!(value, Parameter::Literal(_)))
}

/// The names of a path, if there is nothing else in it.
fn names(path: &[PathSeg]) -> Option<Vec<&str>> {
    let names: Vec<_> = names_of(path).collect();
    (names.len() == path.len()).then_some(names)
}

fn names_of(path: &[PathSeg]) -> impl Iterator<Item = &str> {
    path.iter().filter_map(|part| match part {
        PathSeg::Named(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Texts that follow each other become one.
fn push(elements: &mut Vec<TemplateElement>, element: TemplateElement) {
    match (elements.last_mut(), element) {
        (Some(TemplateElement::RawString(before)), TemplateElement::RawString(text)) => before.push_str(&text),
        (_, element) => elements.push(element),
    }
}

/// Whether no partial is called any more.
#[cfg(test)]
pub fn is_whole(elements: &[TemplateElement]) -> bool {
    let inside = |template: &Option<Template>| template.as_ref().is_none_or(|inner| is_whole(&inner.elements));
    elements.iter().all(|element| match element {
        TemplateElement::PartialExpression(_) | TemplateElement::PartialBlock(_) => false,
        TemplateElement::HelperBlock(call) => inside(&call.template) && inside(&call.inverse),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const WORDS: [&str; 2] = ["word", "other"];

    fn data() -> Value {
        json!({
            "locale": "en",
            "kind": "page",
            "part": "q",
            "title": "no title",
            "a": {"b": "<b>", "c": {"b": "c.b"}, "list": [{"b": "1", "a": {"b": "1.a.b"}}, {"b": "2", "list": ["p", "q"]}]},
            "b": "B=b",
            "list": ["l", "m"],
            "yes": true,
            "no": false,
            "nothing": null,
        })
    }

    /// A registry whose helper `t` knows two words.
    fn registry(strict: bool, templates: &[(&str, &str)]) -> Option<Handlebars<'static>> {
        handlebars::handlebars_helper!(t: |word: str, {name: str = ""}| match WORDS.contains(&word) {
            true => format!("<{word}{name}>"),
            false => String::new(),
        });
        let mut registry = Handlebars::new();
        registry.set_strict_mode(strict);
        registry.set_prevent_indent(true);
        registry.register_helper("t", Box::new(t));
        for (name, source) in templates {
            registry.register_template_string(name, source).ok()?;
        }
        Some(registry)
    }

    fn piece(registry: &Handlebars<'_>) -> Option<Template> {
        let known = ["locale", "kind"].map(|name| (name.to_owned(), data()[name].clone()));
        page(registry, "page", known.into_iter().collect())
    }

    fn rendered(registry: &Handlebars<'_>, piece: &Template) -> Option<String> {
        piece.renders(registry, &data().into(), &mut RenderContext::new(None)).ok()
    }

    /// Asserts that the page shows the same in one piece, which it is.
    fn joins(templates: &[(&str, &str)]) -> Template {
        let registry = registry(true, templates).unwrap();
        let piece = piece(&registry).unwrap_or_else(|| panic!("{templates:?}"));
        assert!(is_whole(&piece.elements), "{templates:?}");
        assert_eq!(rendered(&registry, &piece).unwrap(), registry.render("page", &data()).unwrap(), "{templates:?}");
        piece
    }

    /// Asserts that the page shows the same, and is not in one piece.
    fn stays(templates: &[(&str, &str)]) {
        let registry = registry(true, templates).unwrap();
        let shown = registry.render("page", &data()).unwrap();
        if let Some(piece) = piece(&registry) {
            assert!(!is_whole(&piece.elements), "{templates:?}");
            assert_eq!(rendered(&registry, &piece).unwrap(), shown, "{templates:?}");
        }
    }

    #[test]
    fn a_page_of_known_things_is_one_text() {
        let piece = joins(&[
            (
                "page",
                "{{#> layout title=(t \"word\")}}\n<p>{{t \"other\" name=kind}}</p>{{! not this }}\n{{/layout}}\n",
            ),
            (
                "layout",
                "<i lang=\"{{locale}}\">{{title}}</i>\n{{> part}}\n{{> @partial-block}}{{#unless (eq kind \"error\")}}!{{/unless}}",
            ),
            ("part", "{{#if title}}part of {{title}}{{else}}{{nothing.at.all}}{{/if}}"),
        ]);
        assert!(matches!(&*piece.elements, [TemplateElement::RawString(_)]), "{:?}", piece.elements);
    }

    #[test]
    fn partials_see_what_they_were_given() {
        joins(&[("page", "{{> p a}}{{> p this.a.c}}"), ("p", "[{{b}}{{this.b}}{{@root.b}}{{#if ./c}}{{c.b}}{{/if}}]")]);
        joins(&[
            ("page", "{{#each a.list}}{{@index}}{{> p this}}{{> q this.a}}{{/each}}"),
            ("p", "{{b}}{{@first}}"),
            ("q", "{{#if b}}{{b}}{{/if}}"),
        ]);
        joins(&[
            ("page", "{{> p a}}"),
            ("p", "{{#each list}}{{b}}{{#if a}}{{#with a}}{{b}}{{/with}}{{/if}}{{/each}}{{> q c}}"),
            ("q", "{{b}}"),
        ]);
        joins(&[("page", "{{> p b}}{{> p list.[1]}}"), ("p", "{{this}}")]);
        joins(&[("page", "{{> p x=b}}{{> p x=a.c.b}}{{> p x=\"<\"}}"), ("p", "{{x}}{{{x}}}{{#if x}}{{b}}{{/if}}")]);
        joins(&[
            ("page", "{{#> p}}{{#> q}}{{b}}{{/q}}{{/p}}"),
            ("p", "<{{> @partial-block}}|{{> @partial-block}}>"),
            ("q", "({{> @partial-block}})"),
        ]);
    }

    #[test]
    fn what_only_handlebars_follows_is_left_to_it() {
        for part in [
            "{{#each list}}{{../b}}{{/each}}",
            "{{#each list as |x|}}{{x}}{{/each}}",
            "{{#with a as |x|}}{{x.b}}{{/with}}",
        ] {
            stays(&[
                ("page", "{{> p a}}{{> p}}"),
                ("p", &part.replace("list", "@root.list").replace("with a", "with @root.a")),
            ]);
        }
        stays(&[("page", "{{#*inline \"p\"}}{{b}}{{/inline}}{{> p}}"), ("p", "not this")]);
        stays(&[("page", "{{#> p}}{{#*inline \"q\"}}{{b}}{{/inline}}{{/p}}"), ("p", "{{> q}}"), ("q", "not this")]);
        stays(&[
            ("page", "{{> (lookup this \"part\")}}{{> p}}"),
            ("p", "{{> r x=b}}"),
            ("q", "!"),
            ("r", "{{#each list}}{{x}}{{/each}}"),
        ]);
        stays(&[("page", "{{#> nowhere}}else{{/nowhere}}")]);
        stays(&[("page", "{{> p x=b}}"), ("p", "{{#each this}}{{@key}}{{/each}}")]);
    }

    #[test]
    fn partials_that_use_themselves_come_to_an_end() {
        let templates = [("page", "{{> p a}}"), ("p", "{{b}}{{#if c}}{{> q c}}{{/if}}"), ("q", "{{> p this}}")];
        let registry = registry(true, &templates).unwrap();
        assert_eq!(rendered(&registry, &piece(&registry).unwrap()), registry.render("page", &data()).ok());
    }

    /// Something that stands in a template; partials only those of later letters than `level`.
    fn template(level: usize) -> impl Strategy<Value = String> {
        let plain =
            ["a", "b", "this.b", "a.b", "a.c", "c.b", "a.list", "list", "yes", "no", "x", "title", "@root.b", "locale"];
        let odd = ["this", "nothing", "missing", "x.b", "../b", "../../a.b", "@index", "@../index", "this.kind", "len"];
        let path = prop_oneof![4 => prop::sample::select(plain.to_vec()), 1 => prop::sample::select(odd.to_vec())];
        let leaf = prop_oneof![
            4 => "[ \n<é]{1,3}",
            6 => path.clone().prop_map(|path| format!("{{{{{path}}}}}")),
            1 => path.clone().prop_map(|path| format!("{{{{{{{path}}}}}}}")),
            1 => Just("{{t \"word\"}}".to_owned()),
            1 => path.clone().prop_map(|path| format!("{{{{t \"word\" name={path}}}}}")),
            1 => Just("{{> @partial-block}}".to_owned()),
            1 => Just("{{! comment }}".to_owned()),
        ];
        let partial =
            prop::sample::select([&["p", "q", "r"][level..], &["p", "q", "r"][level..], &["missing"]].concat());
        leaf.prop_recursive(3, 12, 3, move |inner| {
            let inner = prop::collection::vec(inner, 0..4).prop_map(|parts| parts.concat());
            let block = prop::sample::select(vec!["if", "unless", "each", "with"]);
            let given = prop_oneof![
                3 => Just(String::new()),
                3 => path.clone().prop_map(|path| format!(" {path}")),
                2 => path.clone().prop_map(|path| format!(" x={path}")),
                1 => Just(" title=(t \"other\")".to_owned()),
                1 => Just(" x=\"lit\"".to_owned()),
                1 => (path.clone(), path.clone()).prop_map(|(path, x)| format!(" {path} x={x}")),
            ];
            prop_oneof![
                3 => (block.clone(), path.clone(), inner.clone(), inner.clone()).prop_map(|(block, path, yes, no)| format!(
                    "{{{{#{block} {path}}}}}{yes}{{{{else}}}}{no}{{{{/{block}}}}}"
                )),
                3 => (block, path.clone(), inner.clone())
                    .prop_map(|(block, path, yes)| format!("{{{{#{block} {path}}}}}{yes}{{{{/{block}}}}}")),
                1 => (path.clone(), inner.clone())
                    .prop_map(|(path, yes)| format!("{{{{#each {path} as |x|}}}}{yes}{{{{/each}}}}")),
                6 => (partial.clone(), given.clone()).prop_map(|(name, given)| format!("{{{{> {name}{given}}}}}")),
                6 => (partial.clone(), given, inner)
                    .prop_map(|(name, given, block)| format!("{{{{#> {name}{given}}}}}{block}{{{{/{name}}}}}")),
            ]
        })
    }

    fn templates() -> impl Strategy<Value = [String; 4]> {
        let whole = |level| prop::collection::vec(template(level), 1..3).prop_map(|parts| parts.concat());
        [whole(0).boxed(), whole(1).boxed(), whole(2).boxed(), whole(3).boxed()]
    }

    proptest! {
        #[test]
        fn a_page_in_one_piece_shows_what_its_parts_show([page, p, q, r] in templates(), strict: bool) {
            if let Some(registry) = registry(strict, &[("page", &page), ("p", &p), ("q", &q), ("r", &r)])
                && let (Ok(shown), Some(piece)) = (registry.render("page", &data()), piece(&registry))
                && let Some(joined) = rendered(&registry, &piece)
            {
                prop_assert_eq!(joined, shown);
            }
        }
    }
}
