//! The words of the synthetic language: lower case, a few hundred, each of one class. Knows nothing of tasks.

/// People.
pub const NAMES: &[&str] = &[
    "anna", "ben", "carl", "dora", "emma", "finn", "gina", "hugo", "ida", "jack", "kate", "leo", "mia", "nina", "otto",
    "paul", "rosa", "sam", "tina", "uma", "vera", "will", "yara", "zoe",
];

/// Kinds of things, each with the things of that kind.
pub const KINDS: &[(&str, &[&str])] = &[
    ("animal", &["dog", "cat", "horse", "duck"]),
    ("fruit", &["apple", "pear", "plum", "lemon"]),
    ("tool", &["hammer", "saw", "spade", "drill"]),
    ("vehicle", &["car", "bus", "bike", "truck"]),
];

/// Colours.
pub const COLOURS: &[&str] = &["red", "blue", "green", "black", "white", "brown", "pink", "gray"];

/// Places.
pub const PLACES: &[&str] = &["park", "garden", "kitchen", "school", "shop", "barn", "station", "market"];

/// Ways to come by a thing, in the past tense.
pub const GETTING: &[&str] = &["bought", "found", "sold", "lost", "wanted", "saw"];

/// Verbs with a clause after `that`, by what they say of the clause: it holds, it does not, it is open.
pub const CLAUSE_VERBS: [&[&str]; 3] = [
    &["knows", "proves", "forgets", "remembers", "regrets", "notices"],
    &["denies", "pretends", "disproves", "dreams", "lies", "refutes"],
    &["hopes", "thinks", "asks", "guesses", "fears", "claims"],
];

/// How often something is: hardly, or surely.
pub const ADVERBS: [&[&str]; 2] = [
    &["never", "hardly", "rarely", "seldom", "scarcely", "barely"],
    &["always", "often", "usually", "surely", "really", "indeed"],
];

/// States of a person and what comes of them: glad ones, and sorry ones.
pub const EVENTS: [&[(&str, &str)]; 2] = [
    &[
        ("was happy", "began to sing"),
        ("was rich", "gave some gold"),
        ("was lucky", "won a prize"),
        ("was merry", "told a joke"),
    ],
    &[
        ("was sad", "began to cry"),
        ("was sick", "called a doctor"),
        ("was tired", "went to bed"),
        ("was cold", "lit a fire"),
    ],
];

/// Words of two senses: one of the country, one of the town.
pub const AMBIGUOUS: &[&str] = &["bank", "bat", "bark", "seal", "spring", "match", "ring", "pitch"];

/// The names of these senses.
pub const SENSES: [&str; 2] = ["country", "town"];

/// Words near a word in its country sense, and in its town sense.
pub const SURROUNDINGS: [&[&str]; 2] = [
    &["river", "tree", "forest", "lake", "hill", "meadow"],
    &["street", "office", "hotel", "museum", "theatre", "factory"],
];

/// How a thing looked.
pub const LOOKS: &[&str] = &["old", "new", "fine", "strange", "famous", "little", "plain", "odd"];

/// Actions of an animal on an object.
pub const DEEDS: &[&str] = &["watched", "dropped", "carried", "pushed", "pulled", "dragged"];

/// Animals that do things.
pub const BEASTS: &[&str] = &["fox", "wolf", "goat", "sheep", "hen", "mouse", "bear", "frog", "hare", "pig"];

/// Objects that things are done to.
pub const OBJECTS: &[&str] = &["ball", "box", "cup", "drum", "rope", "chair", "shell", "coin", "doll", "stone"];

/// Why: what can be true of an animal, and what of an object.
pub const REASONS: [&[&str]; 2] = [
    &["hungry", "angry", "brave", "clever", "wild", "greedy"],
    &["round", "heavy", "shiny", "broken", "cheap", "wooden"],
];

/// The names of the two.
pub const ROLES: [&str; 2] = ["beast", "object"];

/// Every thing of every kind.
pub fn things() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|(_, things)| things.iter().copied())
}

/// `a` or `an`, and the noun.
pub fn a(noun: &str) -> String {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {noun}") } else { format!("a {noun}") }
}

/// Function words, punctuation stuck to nothing.
const GLUE: &[&str] = &[
    "a", "an", "the", "has", "have", "had", "no", "does", "that", "was", "is", "in", "by", "near", "because", "it",
    "who", "what", "with", "beast", "object", "was", "country", "town", "and", "or", "of", "to",
];

/// Words of templates, field names and labels that texts made of the language may carry.
const FRAMES: &[&str] = &[
    "question:",
    "passage:",
    "premise:",
    "hypothesis:",
    "choice1:",
    "choice2:",
    "answer:",
    "paragraph:",
    "query:",
    "entities:",
    "sentence1:",
    "sentence2:",
    "word:",
    "text:",
    "pronoun:",
    "noun:",
    "record",
    "superglue-record",
    "@placeholder",
    "*",
    "cause",
    "effect",
    "true",
    "false",
    "entailment",
    "not_entailment",
    "contradiction",
    "neutral",
    "choice1",
    "choice2",
    "yes",
    "no",
    "maybe",
    "0",
    "1",
    "2",
];

/// Every word of the language and of what is put around it, sorted, once each.
pub fn words() -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let lists: [&[&str]; 12] =
        [NAMES, COLOURS, PLACES, GETTING, AMBIGUOUS, LOOKS, DEEDS, BEASTS, OBJECTS, GLUE, FRAMES, CLAUSE_VERBS[0]];
    words.extend(lists.iter().flat_map(|list| list.iter().map(|w| (*w).to_owned())));
    let more = CLAUSE_VERBS[1..].iter().chain(&ADVERBS).chain(&SURROUNDINGS).chain(&REASONS);
    words.extend(more.flat_map(|list| list.iter().map(|w| (*w).to_owned())));
    words.extend(KINDS.iter().map(|(kind, _)| (*kind).to_owned()));
    words.extend(things().map(str::to_owned));
    for (state, result) in EVENTS.iter().flat_map(|events| events.iter()) {
        words.extend(state.split(' ').chain(result.split(' ')).map(str::to_owned));
    }
    words.sort();
    words.dedup();
    words
}
