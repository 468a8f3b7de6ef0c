package main

func durableFiles() []sabotage {
	return []sabotage{
		{
			name: "content-not-synced",
			file: "internal/durable/write.go",
			old:  "finish(temp), fsync(temp), temp.Close()",
			new:  "finish(temp), temp.Close()",
			pkg:  "./internal/durable", test: "TestContentIsSyncedBeforeTheNameAndTheFolderAfter",
		},
		{
			name: "name-not-synced",
			file: "internal/durable/write.go",
			old:  "\treturn Sync(filepath.Dir(path))",
			new:  "\treturn nil",
			pkg:  "./internal/durable", test: "TestContentIsSyncedBeforeTheNameAndTheFolderAfter",
		},
		{
			name: "key-file-written-over",
			file: "internal/durable/write.go",
			old:  "err = os.Link(temp, path)",
			new:  "err = os.Rename(temp, path)",
			pkg:  "./internal/durable", test: "TestWriteNewNeverWritesOver",
		},
		{
			name: "secret-open-to-others",
			file: "internal/durable/read.go",
			old:  "Self().CheckSecret(path, info); err != nil",
			new:  "CheckInfo(path, info, OthersWrite); err != nil",
			pkg:  "./internal/durable", test: "TestReadPrivate",
		},
	}
}
