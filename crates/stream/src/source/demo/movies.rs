//! Films as a `;`-separated list of the best thousand has them, trailing separator included: what they tell of is drawn from
//! themes, so that films of one theme are alike, and the certificate depends on the theme.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use super::normal;
use super::words::{count, field, nth, pick, pick_some, thousands};

const HEADER: &str = "Poster_Link;Series_Title;Released_Year;Certificate;Runtime;Genre;IMDB_Rating;Overview;Meta_score;Director;\
                      Star1;Star2;Star3;Star4;No_of_Votes;Gross;";
/// A certificate where the year should be.
const ODD_YEAR_ROW: u64 = 6;
/// The separator in its overview stands outside of quotes: all that follows is one column to the right.
const SHIFTED_ROW: u64 = 15;
/// Has the title of the row before.
const NAMESAKE_ROW: u64 = 10;
/// One of every so many has no certificate.
const ROWS_PER_BLANK_CERTIFICATE: u64 = 10;

/// What films of one kind tell of.
struct Theme {
    genres: &'static str,
    /// As often as they stand here.
    certificates: &'static str,
    /// For titles.
    qualities: &'static str,
    things: &'static str,
    /// Who does what where, and what stands in the way.
    heroes: &'static str,
    deeds: &'static str,
    places: &'static str,
    troubles: &'static str,
}

const THEMES: &[Theme] = &[
    Theme {
        genres: "Adventure|Sci-Fi|Drama",
        certificates: "UA|UA|PG-13|U|U/A",
        qualities: "Distant|Silent|Burning|Last|Orbiting",
        things: "Orbit|Comet|Colony|Signal|Starship",
        heroes: "an astronaut|a starship's navigator|a robot engineer|two cosmonauts|the crew of a probe",
        deeds: "must repair the airlock of|receives a signal from|crosses the galaxy to reach|is stranded aboard",
        places: "a drifting space station|a mining colony on Mars|an alien planet|a moon without atmosphere",
        troubles: "the oxygen is running out|the computer refuses to obey|Earth no longer answers|something boards the ship",
    },
    Theme {
        genres: "Crime|Thriller|Drama",
        certificates: "A|R|R|A|16",
        qualities: "Perfect|Crooked|Unlucky|Golden|Clean",
        things: "Vault|Getaway|Alibi|Safe|Ransom",
        heroes: "a retired safecracker|a gang of thieves|a corrupt banker|a getaway driver|a forger",
        deeds: "plans one last heist on|digs a tunnel beneath|betrays the gang during the robbery of|launders money through",
        places: "a casino vault|a bank in the capital|a diamond exchange|an armoured train",
        troubles: "the mob wants its share|an informer talks to the police|the loot disappears|a murder ruins the plan",
    },
    Theme {
        genres: "Crime|Mystery|Drama",
        certificates: "A|UA|R|Passed|Approved",
        qualities: "Missing|Second|Hidden|Cold|Nameless",
        things: "Witness|Alley|Verdict|Clue|Detective",
        heroes: "a weary detective|a private eye|a young inspector|a police widow|a crime reporter",
        deeds: "investigates a killing in|follows a trail of clues through|reopens an unsolved case in|questions the suspects of",
        places: "a foggy harbour town|an old hotel|a village of secrets|a rainy metropolis",
        troubles: "every witness lies|the killer sends letters|evidence points to a partner|the victim is seen alive",
    },
    Theme {
        genres: "Drama|War|History",
        certificates: "R|A|A|UA|TV-MA",
        qualities: "Broken|Muddy|Endless|Frozen|Forgotten",
        things: "Trench|Regiment|Retreat|Bugle|Front",
        heroes: "a young soldier|a field medic|a captured officer|a platoon|a resistance fighter",
        deeds: "defends a bridge in|escapes from a prison camp in|marches with the army across|smuggles refugees out of",
        places: "an occupied country|the frozen eastern front|a besieged city|the trenches",
        troubles: "the general orders a hopeless attack|the bombing does not end|a deserter is to be shot|the enemy is a childhood friend",
    },
    Theme {
        genres: "Comedy|Romance|Drama",
        certificates: "U|UA|PG-13|UA|PG",
        qualities: "Tender|Late|Borrowed|Sweet|Second",
        things: "Wedding|Kiss|Letter|Spring|Dance",
        heroes: "a shy bookseller|a wedding planner|a divorced pianist|two pen friends|a florist",
        deeds: "falls in love with a stranger in|pretends to be engaged in|meets an old flame in|writes love letters from",
        places: "a small Parisian bakery|a seaside hotel|a night train|a crowded apartment house",
        troubles: "the wedding is tomorrow|both families object|a rival proposes first|the heart will not decide",
    },
    Theme {
        genres: "Animation|Adventure|Family|Comedy",
        certificates: "U|U|U|G|TV-PG",
        qualities: "Little|Brave|Magic|Merry|Giggling",
        things: "Dragon|Hedgehog|Toy|Fox|Balloon",
        heroes: "a clumsy baby dragon|a lost puppy|a toy bear|a brave little mouse|a talking fox",
        deeds: "sets out to find the way home from|makes friends with the animals of|rescues a family from|learns to fly above",
        places: "an enchanted forest|a toy shop at night|a magic island|a zoo",
        troubles: "a grumpy witch wants them all|winter is coming|the children have grown up|nobody believes in wonders",
    },
    Theme {
        genres: "Horror|Mystery|Thriller",
        certificates: "A|R|A|R|16",
        qualities: "Whispering|Pale|Hungry|Buried|Crawling",
        things: "Cellar|Shroud|Doll|Crypt|Scream",
        heroes: "a babysitter|a grieving couple|a priest|five students|a night nurse",
        deeds: "awakens a demon in|is haunted by the ghosts of|is locked overnight in|uncovers a curse upon",
        places: "an abandoned asylum|a lonely farmhouse|a sunken graveyard|a boarding school",
        troubles: "blood seeps from the walls|one after another is slaughtered|the dead will not rest|the mirror shows a stranger",
    },
    Theme {
        genres: "Biography|Drama|Sport",
        certificates: "UA|PG-13|U|PG|UA",
        qualities: "Final|Heavy|Fast|Barefoot|Winning",
        things: "Round|Marathon|Champion|Whistle|Lap",
        heroes: "an ageing boxer|a girls' football team|a stubborn coach|an injured runner|a young swimmer",
        deeds: "trains for the championship in|wins a place in the league of|returns to the ring of|races against the favourite of",
        places: "a mining town|a packed stadium|a poor neighbourhood|the Olympic games",
        troubles: "the knee may not hold|the club is bankrupt|the referee is bribed|the season is nearly lost",
    },
    Theme {
        genres: "Western|Action|Drama",
        certificates: "A|Passed|Approved|UA|R",
        qualities: "Dusty|Lonesome|Tall|Bitter|Wild",
        things: "Saddle|Sheriff|Canyon|Revolver|Stagecoach",
        heroes: "an outlaw|a sheriff|a bounty hunter|a homesteader's widow|a gunslinger",
        deeds: "rides into|defends the ranchers of|hunts the bandits of|guards the stagecoach to",
        places: "a frontier town|a desert canyon|a silver mine|the prairie",
        troubles: "the railway baron hires killers|the well is dry|a duel is set for noon|the posse is close behind",
    },
    Theme {
        genres: "Biography|Drama|Music",
        certificates: "U|UA|R|PG-13|G",
        qualities: "Blue|Loud|Unfinished|Velvet|Minor",
        things: "Song|Violin|Chorus|Trumpet|Encore",
        heroes: "a jazz trumpeter|a deaf composer|a street singer|a rock band|a violin maker",
        deeds: "writes a symphony for|plays every night in|records an album in|returns with the orchestra to",
        places: "a smoky club|an opera house|a garage studio|a music school",
        troubles: "fame and drink take their toll|the manager steals the royalties|the voice is failing|the tour falls apart",
    },
    Theme {
        genres: "Action|Thriller|Adventure",
        certificates: "UA|A|PG-13|PG-13|UA",
        qualities: "Double|Secret|Diplomatic|Invisible|Third",
        things: "Agent|Embassy|Cipher|Passport|Mole",
        heroes: "a secret agent|a double agent|a codebreaker|a sleeper spy|an analyst",
        deeds: "steals the missile codes from|hunts a mole inside|is disavowed on a mission to|exchanges prisoners at",
        places: "an embassy|an intelligence agency|a divided city|a submarine base",
        troubles: "the bomb is already ticking|nobody can be trusted|the antidote is a fake|a sniper has the same orders",
    },
    Theme {
        genres: "Drama|Family",
        certificates: "U|PG|G|GP|UA",
        qualities: "Quiet|Empty|Warm|Open|Ordinary",
        things: "Kitchen|Harvest|Orchard|Winter|Table",
        heroes: "a grandmother|a widowed farmer|three sisters|a schoolteacher|an adopted boy",
        deeds: "inherits the orchard of|brings the family together in|keeps a promise made in|cares for an ailing father in",
        places: "a mountain village|an old farm|a house by the river|a fishing village",
        troubles: "the harvest fails|an old quarrel breaks out again|the house must be sold|a letter reveals the truth",
    },
];
/// Titles that a careless lookup trips over.
const ODD_TITLES: &str = "100% Pure \"Gold\"|What If (Again)?|Rock 'n' Rain|C:\\Lost + Found*|Ümit, the Baker";
const FIRST_NAMES: &str =
    "Ada|Boris|Clara|Dorian|Edda|Felix|Greta|Hugo|Ines|Jonas|Katja|Leon|Mina|Nils|Olga|Pablo|Rosa|Sven|Tess|Viktor";
const LAST_NAMES: &str =
    "Abelard|Brandt|Castellan|Dunmore|Eklund|Faraday|Gallo|Hollis|Ivarsen|Juric|Kessler|Lindqvist|Moreau|Novak|Okafor";

/// Writes `rows` lines; the same seed gives the same bytes. Most titles are of one film, and the first rows hold what trips a
/// reader: quotes, signs, separators in an overview, a certificate as the year, a title of two films.
pub fn write_films(path: &Path, rows: u64, seed: u64) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    writeln!(out, "{HEADER}")?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (quality, log_votes) = (normal(0.6)?, normal(1.2)?);
    let mut title_before = String::new();
    for row in 0..rows {
        #[allow(clippy::cast_possible_truncation)] // A remainder of the number of themes.
        let theme = &THEMES[(row * 7 % THEMES.len() as u64) as usize];
        let title = if row == NAMESAKE_ROW { title_before.clone() } else { title(theme, row) };
        let year = rng.random_range(1930..=2023);
        let stars = 7.0 + quality.sample(&mut rng);
        let votes = (10.5 + 0.8 * (stars - 7.0) + log_votes.sample(&mut rng)).exp();
        let mut certificate = pick(&mut rng, theme.certificates);
        if row % ROWS_PER_BLANK_CERTIFICATE == 3 {
            certificate = "";
        }
        let genres = pick_some(&mut rng, theme.genres, 3);
        let overview = match row {
            SHIFTED_ROW => "A clerk loses his map; he finds his way".to_owned(),
            _ => overview(theme, &mut rng),
        };
        let people: Vec<String> = (0..5).map(|_| person(&mut rng)).collect();
        let (score, gross) = (rng.random_range(40..=99_u64), rng.random_range(10_000..400_000_000_u64));
        let fields = [
            // No posters are generated: pages draw a placeholder.
            String::new(),
            title.clone(),
            if row == ODD_YEAR_ROW { "PG".to_owned() } else { year.to_string() },
            certificate.to_owned(),
            format!("{} min", rng.random_range(75..=190)),
            genres.join(", "),
            format!("{}", (10.0 * stars).round().clamp(10.0, 95.0) / 10.0),
            overview,
            if rng.random_range(0..6) == 0 { String::new() } else { score.to_string() },
            people[0].clone(),
            people[1].clone(),
            people[2].clone(),
            people[3].clone(),
            people[4].clone(),
            format!("{votes:.0}"),
            if row != SHIFTED_ROW && rng.random_range(0..6) == 0 { String::new() } else { thousands(gross) },
            String::new(),
        ];
        if row == SHIFTED_ROW {
            writeln!(out, "{}", fields[..16].join(";"))?;
        } else {
            let fields: Vec<String> = fields.iter().map(|text| field(text, ';')).collect();
            writeln!(out, "{}", fields.join(";"))?;
        }
        title_before = title;
    }
    out.flush()
}

/// "The Distant Comet"; when a theme has used its pairs, they come again as "The Distant Comet II".
fn title(theme: &Theme, row: u64) -> String {
    let row = usize::try_from(row).unwrap_or(usize::MAX);
    if (1..=count(ODD_TITLES)).contains(&row) {
        return nth(ODD_TITLES, row - 1).to_owned();
    }
    // Rows of one theme are as far apart as there are themes.
    let of_theme = row / THEMES.len();
    let (quality, thing) = (nth(theme.qualities, of_theme), nth(theme.things, of_theme / 5 + of_theme));
    match of_theme / 25 {
        0 => format!("The {quality} {thing}"),
        again => format!("The {quality} {thing} {}", again + 1),
    }
}

/// What a film of the theme tells; some hold a separator, so that they stand in quotes.
fn overview(theme: &Theme, rng: &mut ChaCha8Rng) -> String {
    let first = format!("{} {} {}", pick(rng, theme.heroes), pick(rng, theme.deeds), pick(rng, theme.places));
    let trouble = pick(rng, theme.troubles);
    let (head, tail) = first.split_at(1);
    let joint = [", but ", "; but ", " while ", ", where "][rng.random_range(0..4)];
    let end = [".", ", day after day.", ", until help comes.", ", or so they say."][rng.random_range(0..4)];
    format!("{}{tail}{joint}{trouble}{end}", head.to_uppercase())
}

fn person(rng: &mut ChaCha8Rng) -> String {
    format!("{} {}", pick(rng, FIRST_NAMES), pick(rng, LAST_NAMES))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn written(rows: u64, seed: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        write_films(&path, rows, seed).unwrap();
        std::fs::read_to_string(&path).unwrap()
    }

    /// The fields of a line, of which some are quoted.
    fn fields(line: &str) -> Vec<String> {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '"' => quoted = !quoted,
                ';' if !quoted => fields.push(String::new()),
                _ => fields.last_mut().unwrap().push(letter),
            }
        }
        fields
    }

    #[test]
    fn films_have_the_columns_and_the_oddities_of_the_list() {
        let text = written(1000, 7);
        assert_eq!(text, written(1000, 7));
        assert_ne!(text, written(1000, 8));
        let rows: Vec<Vec<String>> = text.lines().map(fields).collect();
        assert_eq!(rows.len(), 1001);
        assert!(rows.iter().all(|row| row.len() == 17));
        assert_eq!(rows.iter().filter(|row| !row[16].is_empty()).count(), 1, "one is shifted");
        assert_eq!(rows[0][15], "Gross");
        let rows = &rows[1..];
        assert_eq!(rows[6][2], "PG");
        assert_eq!(rows.iter().filter(|row| row[3].is_empty()).count(), 100);
        assert!(rows.iter().all(|row| row[4].ends_with(" min")));
        assert!(rows.iter().any(|row| row[15].contains(',')) && rows.iter().any(|row| row[7].contains(';')));
        let mut titles: BTreeMap<&str, usize> = BTreeMap::new();
        rows.iter().for_each(|row| *titles.entry(&row[1]).or_default() += 1);
        assert_eq!(titles.values().filter(|&&films| films > 1).count(), 1, "one title is of two films");
        let ids: BTreeSet<String> = rows.iter().map(|row| format!("{} ({})", row[1], row[2])).collect();
        assert_eq!(ids.len(), 1000, "title and year tell every film from the others");
    }

    #[test]
    fn films_of_one_theme_share_their_words() {
        let text = written(600, 1);
        let overviews: Vec<String> = text.lines().skip(1).map(|line| fields(line).remove(7)).collect();
        let words = |text: &str| -> BTreeSet<String> {
            text.split_whitespace().filter(|word| word.len() > 4).map(str::to_lowercase).collect()
        };
        let shared = |apart: usize| -> usize {
            overviews.iter().zip(&overviews[apart..]).map(|(a, b)| words(a).intersection(&words(b)).count()).sum()
        };
        assert!(shared(THEMES.len()) > 4 * shared(1), "{} and {}", shared(THEMES.len()), shared(1));
    }
}
