// Package durable writes, replaces and reads the files that pawl must not lose or leak:
// key blobs, keys.json, the folder of the software card.
//
// What a function wrote is on disk when it returns nil, under its name: the content is
// synced, then the folder that holds the name (fsync(2), "Calling fsync() does not
// necessarily ensure that the entry in the directory containing the file has also reached
// disk"). A power cut leaves the old state or the new one, and perhaps a file named
// .pawl-* that nothing reads.
package durable
