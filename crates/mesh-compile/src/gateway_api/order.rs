//! Which of several matches comes first, whatever rule and route it is of.

use std::cmp::Reverse;

use mesh_config::model::HttpMatch;
use mesh_config::model::StringMatch;

/// The Gateway API's order of precedence, the first of which sorts first: the kind of path, the length of path,
/// a method, the number of headers, the number of query parameters. Routes that are equal in it keep their order,
/// which is that of their age, then of their names, then that of the rules.
pub(crate) type Precedence = (u8, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

pub(crate) fn precedence(entry: &HttpMatch) -> Precedence {
    let (kind, length) = match &entry.uri {
        Some(StringMatch::Exact(path)) => (0, path.len()),
        Some(StringMatch::Prefix(path)) => (1, path.len()),
        Some(StringMatch::Regex(path)) => (2, path.len()),
        None => (3, 0),
    };
    (
        kind,
        Reverse(length),
        entry.method.is_none(),
        Reverse(entry.headers.len()),
        Reverse(entry.query_params.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_that_is_asked_the_earlier() {
        let path = |uri| HttpMatch {
            uri: Some(uri),
            ..HttpMatch::default()
        };
        let header = HttpMatch {
            headers: [("a".to_owned(), None)].into(),
            ..HttpMatch::default()
        };
        let method = HttpMatch {
            method: Some(StringMatch::Exact("GET".to_owned())),
            ..HttpMatch::default()
        };
        let parameter = HttpMatch {
            query_params: [("a".to_owned(), None)].into(),
            ..HttpMatch::default()
        };
        let order = [
            path(StringMatch::Exact("/a".to_owned())),
            path(StringMatch::Prefix("/a/b".to_owned())),
            path(StringMatch::Prefix("/a".to_owned())),
            path(StringMatch::Regex("/.*".to_owned())),
            method,
            header,
            parameter,
            HttpMatch::default(),
        ];
        assert!(order.is_sorted_by_key(precedence));
        let mut shuffled = order.clone();
        shuffled.reverse();
        shuffled.sort_by_key(precedence);
        assert_eq!(shuffled, order);
    }
}
