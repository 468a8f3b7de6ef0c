package ep11

// Codes are the return codes that have a name.
func Codes() map[Code]string {
	names := make(map[Code]string)
	for code, meaning := range codes {
		names[code] = meaning.name
	}
	return names
}
