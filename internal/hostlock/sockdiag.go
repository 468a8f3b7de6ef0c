package hostlock

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// The dump of Unix sockets, as linux/unix_diag.h has it.
const (
	showName, showUID = 0x01, 0x40
	attrName, attrUID = 0, 7
	diagRequest       = 24 // bytes of unix_diag_req
	diagMessage       = 16 // bytes of unix_diag_msg, before the attributes
	listening         = 10 // TCP_LISTEN
	dumpBuffer        = 64 << 10
)

// socketOwners returns the users who made the abstract sockets that listen in this network namespace, by name
// (sock_diag(7); users since Linux 5.3). Those that the kernel does not tell are missing.
func socketOwners() map[string]int {
	owners := make(map[string]int)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return owners
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, dumpRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return owners
	}
	for answer := make([]byte, dumpBuffer); ; {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return owners
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil || len(messages) == 0 {
			return owners
		}
		for _, m := range messages {
			if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR || len(m.Data) < diagMessage {
				return owners
			}
			addOwner(owners, m.Data[diagMessage:])
		}
	}
}

func dumpRequest() []byte {
	order := binary.NativeEndian
	b := order.AppendUint32(nil, unix.SizeofNlMsghdr+diagRequest)
	b = order.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = order.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...) // sequence and port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = order.AppendUint32(b, 1<<listening)
	b = order.AppendUint32(b, 0) // inode: any
	b = order.AppendUint32(b, showName|showUID)
	return append(b, make([]byte, 8)...) // cookie
}

// addOwner reads the attributes of a socket: length, type, value, padding to four bytes.
func addOwner(owners map[string]int, attributes []byte) {
	name, uid := "", -1
	for order := binary.NativeEndian; len(attributes) >= unix.SizeofNlAttr; {
		size := int(order.Uint16(attributes))
		if size < unix.SizeofNlAttr || size > len(attributes) {
			return
		}
		value := attributes[unix.SizeofNlAttr:size]
		switch kind := order.Uint16(attributes[2:]); {
		case kind == attrName && len(value) > 0 && value[0] == 0:
			name = "@" + string(value[1:])
		case kind == attrUID && len(value) == 4:
			uid = int(order.Uint32(value))
		}
		attributes = attributes[min(len(attributes), (size+3)&^3):]
	}
	if name != "" && uid >= 0 {
		owners[name] = uid
	}
}
