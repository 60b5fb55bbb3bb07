package jsonpath

import "strings"

// either parses alternatives, joined by ||.
func (p *parser) either() (condition, error) {
	leave, err := p.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	var list anyOf
	for {
		c, err := p.both()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		if !p.operator("||") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

// both parses conditions, joined by &&.
func (p *parser) both() (condition, error) {
	var list allOf
	for {
		c, err := p.basic()
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		if !p.operator("&&") {
			break
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return list, nil
}

// operator reads past an operator and the space around it, if one comes next.
func (p *parser) operator(token string) bool {
	before := p.at
	p.space()
	if !p.accept(token) {
		p.at = before
		return false
	}
	p.space()
	return true
}

// basic parses one condition: one in parentheses, a test, or a comparison.
func (p *parser) basic() (condition, error) {
	if p.accept("!") {
		p.space()
		var c condition
		var err error
		if p.peek() == '(' {
			c, err = p.parentheses()
		} else {
			c, err = p.test()
		}
		return negation{c}, err
	}
	if p.peek() == '(' {
		return p.parentheses()
	}
	begin := p.at
	t, err := p.term()
	if err != nil {
		return nil, err
	}
	operator := p.comparisonOperator()
	if operator == "" {
		return p.testOf(t, begin)
	}
	left, err := p.operandOf(t, begin)
	if err != nil {
		return nil, err
	}
	begin = p.at
	if t, err = p.term(); err != nil {
		return nil, err
	}
	right, err := p.operandOf(t, begin)
	return comparison{operator, left, right}, err
}

func (p *parser) comparisonOperator() string {
	for _, token := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.operator(token) {
			return token
		}
	}
	return ""
}

func (p *parser) parentheses() (condition, error) {
	p.at++
	p.space()
	c, err := p.either()
	if err != nil {
		return nil, err
	}
	p.space()
	if !p.accept(")") {
		return nil, p.unexpected()
	}
	return c, nil
}

// test parses an expression that is true or false by itself.
func (p *parser) test() (condition, error) {
	begin := p.at
	t, err := p.term()
	if err != nil {
		return nil, err
	}
	return p.testOf(t, begin)
}

// term is a query, a literal, or a call. One of them is set.
type term struct {
	query *query
	value operand   // a literal, or a call that returns a value
	logic condition // a call that returns true or false
}

func (p *parser) testOf(t term, begin int) (condition, error) {
	switch {
	case t.logic != nil:
		return t.logic, nil
	case t.query != nil:
		return existence{t.query}, nil
	}
	p.at = begin
	return nil, p.fail("a value is not true or false; compare it with another")
}

func (p *parser) operandOf(t term, begin int) (operand, error) {
	switch {
	case t.value != nil:
		return t.value, nil
	case t.query != nil && t.query.isSingular():
		return singular{t.query}, nil
	}
	p.at = begin
	return nil, p.fail("only literals, queries for one node, and functions that have a value can be compared or are " +
		"taken here")
}

func (p *parser) term() (term, error) {
	switch c := p.peek(); {
	case c == '@' || c == '$':
		p.at++
		q, err := p.query(c == '@')
		return term{query: q}, err
	case c == '\'' || c == '"':
		text, err := p.quoted()
		return term{value: literal{value{kind: isString, text: text}}}, err
	case c == '-' || isDigit(c):
		n, err := p.number()
		return term{value: literal{value{kind: isNumber, number: n}}}, err
	case c >= 'a' && c <= 'z':
		return p.word()
	}
	return term{}, p.unexpected()
}

// word parses a literal that is a word, or a call.
func (p *parser) word() (term, error) {
	begin := p.at
	for c := p.peek(); c >= 'a' && c <= 'z' || c == '_' || isDigit(c); c = p.peek() {
		p.at++
	}
	name := p.text[begin:p.at]
	if p.peek() == '(' {
		return p.call(name, begin)
	}
	switch name {
	case "true", "false":
		return term{value: literal{value{kind: isBool, truth: name == "true"}}}, nil
	case "null":
		return term{value: literal{value{kind: isNull}}}, nil
	}
	p.at = begin
	return term{}, p.unexpected()
}

// call parses the arguments of one of the functions of RFC 9535, section 2.4.
func (p *parser) call(name string, begin int) (term, error) {
	arguments := map[string]int{"length": 1, "count": 1, "value": 1, "match": 2, "search": 2}
	n, known := arguments[name]
	if !known {
		p.at = begin
		return term{}, p.fail("%q is not a function; the functions are count, length, match, search and value", clip(name))
	}
	leave, err := p.enter()
	if err != nil {
		return term{}, err
	}
	defer leave()
	p.at++
	var terms [2]term
	var begins [2]int
	for i := range n {
		if p.space(); i > 0 && !p.accept(",") {
			return term{}, p.unexpected()
		}
		p.space()
		begins[i] = p.at                          //nolint:gosec // i is less than n, its length
		if terms[i], err = p.term(); err != nil { //nolint:gosec // see above
			return term{}, err
		}
	}
	if p.space(); !p.accept(")") {
		return term{}, p.unexpected()
	}
	switch name {
	case "count", "value":
		if terms[0].query == nil {
			p.at = begins[0]
			return term{}, p.fail("the argument of %s is a query", name)
		}
		if name == "count" {
			return term{value: count{terms[0].query}}, nil
		}
		return term{value: only{terms[0].query}}, nil
	case "length":
		of, err := p.operandOf(terms[0], begins[0])
		return term{value: length{of}}, err
	}
	text, err := p.operandOf(terms[0], begins[0])
	if err != nil {
		return term{}, err
	}
	pattern, err := p.operandOf(terms[1], begins[1])
	return term{logic: matching{name == "match", text, pattern}}, err
}

const maxShown = 40

func clip(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxShown)], "")
}
