//! English words which say nothing of what a text is about: articles, pronouns, prepositions, conjunctions, auxiliary
//! verbs and their contractions.

/// Sorted, for the search.
#[rustfmt::skip]
pub(super) const ENGLISH: &[&str] = &[
    "a", "about", "above", "across", "after", "again", "against", "all", "almost", "along", "already", "also",
    "although", "always", "am", "among", "amongst", "an", "and", "another", "any", "are", "aren't", "around", "as",
    "at", "be", "because", "been", "before", "behind", "being", "below", "beside", "besides", "between", "beyond",
    "both", "but", "by", "can", "can't", "cannot", "could", "couldn't", "did", "didn't", "do", "does", "doesn't",
    "doing", "don't", "done", "down", "during", "each", "either", "else", "even", "ever", "every", "few", "for",
    "from", "further", "get", "gets", "got", "had", "hadn't", "has", "hasn't", "have", "haven't", "having", "he",
    "he'd", "he'll", "he's", "her", "here", "here's", "hers", "herself", "him", "himself", "his", "how", "how's", "i",
    "i'd", "i'll", "i'm", "i've", "if", "in", "into", "is", "isn't", "it", "it'd", "it'll", "it's", "its", "itself",
    "just", "least", "less", "let's", "little", "many", "may", "me", "might", "mightn't", "mine", "more", "most",
    "much", "must", "mustn't", "my", "myself", "near", "needn't", "neither", "never", "no", "nor", "not", "of", "off",
    "often", "on", "once", "one", "oneself", "only", "onto", "or", "other", "others", "ought", "our", "ours",
    "ourselves", "out", "over", "own", "per", "quite", "rather", "same", "several", "shall", "shan't", "she", "she'd",
    "she'll", "she's", "should", "shouldn't", "since", "so", "some", "still", "such", "than", "that", "that'll",
    "that's", "the", "their", "theirs", "them", "themselves", "then", "there", "there's", "these", "they", "they'd",
    "they'll", "they're", "they've", "this", "those", "though", "through", "to", "too", "toward", "towards", "under",
    "unless", "until", "up", "upon", "us", "very", "via", "was", "wasn't", "we", "we'd", "we'll", "we're", "we've",
    "were", "weren't", "what", "what's", "whatever", "when", "when's", "where", "where's", "whereas", "whether",
    "which", "whichever", "while", "who", "who's", "whoever", "whom", "whose", "why", "why's", "will", "with",
    "within", "without", "won't", "would", "wouldn't", "yet", "you", "you'd", "you'll", "you're", "you've", "your",
    "yours", "yourself", "yourselves",
];
