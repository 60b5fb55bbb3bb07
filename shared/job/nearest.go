package job

import "strings"

// Nearest returns the word of the list that the user probably meant, or "". It ignores case and the
// separators between the parts of a word.
func Nearest(word string, list []string) string {
	const most = 64 // a misspelt word is not longer, and the cost grows with the square of the length
	if word == "" || len(word) > most {
		return ""
	}
	best, least := "", 0
	for _, candidate := range list {
		a, b := plainWord(word), plainWord(candidate)
		d := distance(a, b)
		// A third of the letters may be wrong, the end may be missing, or the word may be longer.
		near := d <= (len(b)+1)/3 || len(a) >= 3 && strings.HasPrefix(b, a) || len(b) >= 3 && strings.HasPrefix(a, b)
		if near && (best == "" || d < least) {
			best, least = candidate, d
		}
	}
	return best
}

func plainWord(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "", ".", "").Replace(strings.ToLower(s))
}

// distance is the number of letters that must be changed, added, dropped or swapped with the next
// one (optimal string alignment distance).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// Meant returns the part of a message that suggests what the user probably meant, such as
// `; did you mean python?`, or "". It looks for the word among others, which map synonyms to words
// of the list, and then for the nearest word of the list.
func Meant(word string, list []string, others map[string]string) string {
	if meant, found := others[plainWord(word)]; found {
		return "; did you mean " + meant + "?"
	}
	if near := Nearest(word, list); near != "" && near != word {
		return "; did you mean " + near + "?"
	}
	return ""
}
