package transfer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"pawl/tezos"
)

// object is a JSON object by its names. A name that comes twice is an error: encoding/json would take the
// last one.
type object map[string]json.RawMessage

// UnmarshalJSON reads an object, and nothing else.
func (o *object) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return fmt.Errorf("%.20q is no object", text)
	}
	*o = make(object)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if _, twice := (*o)[name]; twice {
			return fmt.Errorf("%q comes twice", name)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("%q: %v", name, err)
		}
		(*o)[name] = value
	}
	_, err := decoder.Token()
	return err
}

// names are those of the object, in order.
func (o object) names() []string { return slices.Sorted(maps.Keys(o)) }

// readObject reads a file with one JSON object.
func readObject(path string) (o object, err error) {
	text, err := readText(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("%s: %v", path, err)
	}
	return o, nil
}

// eachKey calls read for each key of an object, in order.
func eachKey(text []byte, read func(key tezos.PublicKeyHash, value []byte) error) error {
	var keys object
	if err := json.Unmarshal(text, &keys); err != nil {
		return err
	}
	for _, name := range keys.names() {
		key, err := tezos.ParsePublicKeyHash(name)
		if err == nil {
			err = read(key, keys[name])
		}
		if err != nil {
			return fmt.Errorf("%s: %v", name, err)
		}
	}
	return nil
}

// record reads a value of an object into a struct, without names that it has not.
func record(text json.RawMessage, into any) error {
	var unique object
	if err := json.Unmarshal(text, &unique); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}
