//! Packages in an archive's index, and what they depend on.

use std::collections::HashMap;
use std::ops::Range;

use super::download::Sum;
use crate::run::Error;

/// A package in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version, with Debian's revision.
    pub(crate) version: String,
    /// Where it lies below the archive's address.
    pub(crate) path: String,
    /// The sum that the index vouches for.
    pub(crate) sum: Sum,
    /// Names of the packages it needs, the first of each list of alternatives leading.
    pub(crate) depends: Vec<Vec<String>>,
}

impl Package {
    fn parse(entry: &str) -> Option<Self> {
        Some(Self {
            name: field(entry, "Package")?.to_owned(),
            version: field(entry, "Version")?.to_owned(),
            path: field(entry, "Filename")?.to_owned(),
            sum: Sum::parse(field(entry, "SHA256")?)?,
            depends: ["Pre-Depends", "Depends"]
                .iter()
                .filter_map(|name| field(entry, name))
                .flat_map(|list| list.split(','))
                .map(alternatives)
                .collect(),
        })
    }
}

/// A field of an entry that fits one line.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = entry.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// `a (>= 1) | b:any` names `a` and `b`.
fn alternatives(text: &str) -> Vec<String> {
    let name = |word: &str| {
        let word = word.trim();
        let end = word.find([' ', '(', ':', '[']).unwrap_or(word.len());
        word[..end].to_owned()
    };
    text.split('|').map(name).collect()
}

/// A suite's list of packages for one architecture.
pub(crate) struct Index {
    text: String,
    entries: HashMap<String, Vec<Range<usize>>>,
}

impl Index {
    /// Takes the text of an index: entries of lines, with empty lines between.
    pub(crate) fn new(text: String) -> Self {
        let mut entries: HashMap<String, Vec<Range<usize>>> = HashMap::new();
        let mut start = 0;
        for entry in text.split("\n\n") {
            let range = start..start + entry.len();
            start = range.end + 2;
            if let Some(name) = field(entry, "Package") {
                entries.entry(name.to_owned()).or_default().push(range);
            }
        }
        Self { text, entries }
    }

    /// Every version of a package, in the order of the index.
    pub(crate) fn packages(&self, name: &str) -> impl Iterator<Item = Package> + '_ {
        let ranges = self.entries.get(name).into_iter().flatten();
        ranges.filter_map(|range| Package::parse(self.text.get(range.clone())?))
    }

    /// The last version of a package.
    pub(crate) fn package(&self, name: &str) -> Option<Package> {
        self.packages(name).last()
    }

    /// A package that stands in for a name, the first in alphabetical order.
    fn provider(&self, name: &str) -> Option<Package> {
        let mut names: Vec<_> = self.entries.keys().collect();
        names.sort_unstable();
        let provides = |range: &Range<usize>| {
            let list = self
                .text
                .get(range.clone())
                .and_then(|entry| field(entry, "Provides"));
            list.is_some_and(|list| list.split(',').any(|one| alternatives(one)[0] == name))
        };
        let found = names
            .into_iter()
            .find(|other| self.entries[*other].iter().any(provides))?;
        self.package(found)
    }
}

/// The named packages and all that they depend on, each once, in the order in which they are met. A dependency is
/// followed if `follow` takes one of its alternatives. A name is looked up in one index after the other.
///
/// # Errors
/// Names that no index knows, and whose alternatives none knows either.
pub(crate) fn with_dependencies(
    indexes: &[&Index],
    names: &[&str],
    follow: fn(&str) -> bool,
) -> Result<Vec<Package>, Error> {
    let mut found: Vec<Package> = Vec::new();
    let mut wanted: Vec<Vec<String>> = names
        .iter()
        .rev()
        .map(|name| vec![(*name).to_owned()])
        .collect();
    while let Some(names) = wanted.pop() {
        if names
            .iter()
            .any(|name| found.iter().any(|have| have.name == *name))
        {
            continue;
        }
        let named = names
            .iter()
            .find_map(|name| indexes.iter().find_map(|index| index.package(name)));
        let package = named.or_else(|| {
            names
                .iter()
                .find_map(|name| indexes.iter().find_map(|index| index.provider(name)))
        });
        let package = package.ok_or_else(|| {
            Error::new(format!("the archive has no package {}", names.join(" or ")))
        })?;
        // A virtual name may lead to a package that is already there.
        if found.iter().any(|have| have.name == package.name) {
            continue;
        }
        let followed = package.depends.iter().rev();
        wanted.extend(
            followed
                .filter(|names| names.iter().any(|name| follow(name)))
                .cloned(),
        );
        found.push(package);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(package: &str, more: &str) -> String {
        format!(
            "Package: {package}\nVersion: 1\nFilename: pool/{package}.deb\nSHA256: {SUM}\n{more}"
        )
    }

    fn names(packages: &[Package]) -> Vec<&str> {
        packages
            .iter()
            .map(|package| package.name.as_str())
            .collect()
    }

    #[test]
    fn dependencies_are_followed_once_each_even_in_a_circle() {
        let index = Index::new(
            [
                entry("a", "Depends: b (>= 2), c:any | d\nPre-Depends: e"),
                entry("b", "Depends: a"),
                entry("d", "Depends: virtual"),
                entry("e", "Provides: other, virtual (= 3)"),
            ]
            .join("\n\n"),
        );
        let all = with_dependencies(&[&index], &["a"], |_| true).unwrap();
        assert_eq!(names(&all), ["a", "e", "b", "d"]);
    }

    #[test]
    fn the_first_index_wins_and_a_missing_name_is_told() {
        let old = Index::new(entry("a", "Depends: b") + "\n\n" + &entry("b", ""));
        let new = Index::new(entry("a", "Depends: b, z | y"));
        assert_eq!(
            names(&with_dependencies(&[&old, &new], &["a"], |_| true).unwrap()),
            ["a", "b"]
        );
        assert_eq!(
            names(&with_dependencies(&[&old], &["a"], |name| name != "b").unwrap()),
            ["a"]
        );
        let error = with_dependencies(&[&new, &old], &["a"], |_| true).unwrap_err();
        assert_eq!(error.to_string(), "the archive has no package z or y");
    }

    #[test]
    fn damaged_entries_are_no_packages() {
        let index = Index::new(format!("Package: a\nVersion: 1\n\n{}", entry("b", "")));
        assert_eq!(index.package("a"), None);
        assert_eq!(index.package("b").unwrap().path, "pool/b.deb");
    }
}
