package ep11_test

import (
	"strings"
	"testing"

	ibm "github.com/IBM-Cloud/hpcs-grep11-go/ep11"

	"pawl/internal/ep11"
)

func TestCodesHaveIBMsNames(t *testing.T) {
	t.Parallel()
	for ret, name := range ibm.ReturnValueToName {
		switch name {
		case "CKR_VENDOR_DEFINED", "CKR_VENDOR_DEFINED_GREP11":
			continue // bases of ranges, not codes
		}
		if got := ep11.Code(ret).String(); got != name {
			t.Errorf("code %#x is %q, IBM's name is %q", uint64(ret), got, name)
		}
	}
	names := make(map[string]ep11.Code)
	for code, name := range ep11.Codes() {
		if other, ok := names[name]; ok || !strings.HasPrefix(name, "CKR_") {
			t.Errorf("%q names %#x and %#x", name, uint64(other), uint64(code))
		}
		names[name] = code
	}
	if got := ep11.Code(0x80019999).String(); got != "CKR 0x80019999" {
		t.Errorf("unknown code is %q", got)
	}
}
