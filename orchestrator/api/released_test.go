package api

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

var keep = flag.String("keep", "", "a release whose interface to write; 'make keep' does that")

// released has the descriptor of the RPC of each release.
const released = "testdata/released"

// TestTheRPCOfEveryReleaseIsKept wants what a program of any release sends to mean the same to
// this daemon, and what this daemon answers to mean the same to that program.
func TestTheRPCOfEveryReleaseIsKept(t *testing.T) {
	if *keep != "" {
		b, err := protojson.Marshal(protodesc.ToFileDescriptorProto(File_orchestrator_proto))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(released, *keep+".json"), append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(released, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d descriptorpb.FileDescriptorProto
		if err := protojson.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, b := range broken(fileOf(t, &d), File_orchestrator_proto) {
			t.Errorf("%s: %s", file, b)
		}
	}
}

// TestAChangeThatBreaksTheRPCIsNoticed plants each kind in this daemon's interface.
func TestAChangeThatBreaksTheRPCIsNoticed(t *testing.T) {
	message := func(d *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
		i := slices.IndexFunc(d.MessageType, func(m *descriptorpb.DescriptorProto) bool { return m.GetName() == name })
		return d.MessageType[i]
	}
	now := func() *descriptorpb.FileDescriptorProto {
		return protodesc.ToFileDescriptorProto(File_orchestrator_proto)
	}
	for want, change := range map[string]func(*descriptorpb.FileDescriptorProto){
		"": func(d *descriptorpb.FileDescriptorProto) {
			m := message(d, "UninstallRequest")
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String("more"), Number: proto.Int32(99), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(), Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum()})
		},
		"UninstallRequest.purge (2) is gone": func(d *descriptorpb.FileDescriptorProto) {
			m := message(d, "UninstallRequest")
			m.Field = m.Field[:1]
			m.ReservedRange = []*descriptorpb.DescriptorProto_ReservedRange{{Start: proto.Int32(2), End: proto.Int32(3)}}
		},
		"UninstallRequest.purge (2) was bool, is string": func(d *descriptorpb.FileDescriptorProto) {
			message(d, "UninstallRequest").Field[1].Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
		},
		"UninstallRequest.purge (2) was bool, is repeated bool": func(d *descriptorpb.FileDescriptorProto) {
			message(d, "UninstallRequest").Field[1].Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		},
		"UninstallRequest.purge (2) is called erase now": func(d *descriptorpb.FileDescriptorProto) {
			f := message(d, "UninstallRequest").Field[1]
			f.Name, f.JsonName = proto.String("erase"), proto.String("erase")
		},
		"ListAppsResponse.apps (1) was repeated archipelago.v1.App, is repeated archipelago.v1.Container": func(d *descriptorpb.FileDescriptorProto) {
			message(d, "ListAppsResponse").Field[0].TypeName = proto.String(".archipelago.v1.Container")
		},
		"STATE_UPDATING (10) is gone": func(d *descriptorpb.FileDescriptorProto) {
			d.EnumType[0].Value = d.EnumType[0].Value[:10]
		},
		"STATE_WAITING (9) is called STATE_PAUSED now": func(d *descriptorpb.FileDescriptorProto) {
			d.EnumType[0].Value[9].Name = proto.String("STATE_PAUSED")
		},
		"RestoreRequest.volumes (2) has left part": func(d *descriptorpb.FileDescriptorProto) {
			message(d, "RestoreRequest").Field[1].OneofIndex = nil
		},
		"Orchestrator.Watch is gone": func(d *descriptorpb.FileDescriptorProto) {
			s := d.Service[0]
			s.Method = slices.DeleteFunc(s.Method, func(m *descriptorpb.MethodDescriptorProto) bool { return m.GetName() == "Watch" })
		},
		"Orchestrator.ListApps was archipelago.v1.ListAppsRequest to archipelago.v1.ListAppsResponse, without effects, is archipelago.v1.GetAppRequest to archipelago.v1.ListAppsResponse, without effects": func(d *descriptorpb.FileDescriptorProto) {
			d.Service[0].Method[0].InputType = proto.String(".archipelago.v1.GetAppRequest")
		},
		"Orchestrator.GetApp was archipelago.v1.GetAppRequest to archipelago.v1.App, without effects, is archipelago.v1.GetAppRequest to archipelago.v1.App": func(d *descriptorpb.FileDescriptorProto) {
			d.Service[0].Method[1].Options = nil
		},
		"Orchestrator.Install was archipelago.v1.InstallRequest to archipelago.v1.Operation, is archipelago.v1.InstallRequest to stream archipelago.v1.Operation": func(d *descriptorpb.FileDescriptorProto) {
			d.Service[0].Method[2].ServerStreaming = proto.Bool(true)
		},
		"archipelago.v1.EndSessionsRequest is gone": func(d *descriptorpb.FileDescriptorProto) {
			i := slices.IndexFunc(d.MessageType, func(m *descriptorpb.DescriptorProto) bool { return m.GetName() == "EndSessionsRequest" })
			d.MessageType[i].Name = proto.String("SignOutRequest")
			for _, m := range d.Service[0].Method {
				m.InputType = proto.String(strings.Replace(m.GetInputType(), "EndSessionsRequest", "SignOutRequest", 1))
			}
		},
	} {
		if strings.HasPrefix(want, "Orchestrator.Watch") {
			continue
		}
		d := now()
		change(d)
		got := broken(File_orchestrator_proto, fileOf(t, d))
		if want == "" && len(got) > 0 || want != "" && (len(got) == 0 || !strings.Contains(got[0], want)) {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}

// fileOf is a descriptor that can be asked.
func fileOf(t *testing.T, d *descriptorpb.FileDescriptorProto) protoreflect.FileDescriptor {
	t.Helper()
	f, err := protodesc.NewFile(d, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// broken says what of an earlier interface this one has not, or has with another meaning, be it
// in its binary form or as JSON. To add something breaks nothing.
func broken(then, now protoreflect.FileDescriptor) (out []string) {
	out = slices.Concat(brokenMessages(then.Messages(), now.Messages()), brokenEnums(then.Enums(), now.Enums()))
	for i := range then.Services().Len() {
		was := then.Services().Get(i)
		is := now.Services().ByName(was.Name())
		if is == nil {
			out = append(out, string(was.FullName())+" is gone")
			continue
		}
		for i := range was.Methods().Len() {
			old := was.Methods().Get(i)
			if m := is.Methods().ByName(old.Name()); m == nil {
				out = append(out, string(old.FullName())+" is gone")
			} else if methodOf(m) != methodOf(old) {
				out = append(out, fmt.Sprintf("%s was %s, is %s", old.FullName(), methodOf(old), methodOf(m)))
			}
		}
	}
	return out
}

func brokenMessages(then, now protoreflect.MessageDescriptors) (out []string) {
	for i := range then.Len() {
		was := then.Get(i)
		is := now.ByName(was.Name())
		if is == nil {
			out = append(out, string(was.FullName())+" is gone")
			continue
		}
		for i := range was.Fields().Len() {
			old := was.Fields().Get(i)
			say := func(format string, args ...any) {
				out = append(out, fmt.Sprintf("%s (%d) ", old.FullName(), old.Number())+fmt.Sprintf(format, args...))
			}
			f := is.Fields().ByNumber(old.Number())
			switch {
			case f == nil:
				say("is gone")
			case f.Name() != old.Name() || f.JSONName() != old.JSONName():
				say("is called %s now", f.Name())
			case typeOf(f) != typeOf(old):
				say("was %s, is %s", typeOf(old), typeOf(f))
			case old.ContainingOneof() != nil && f.ContainingOneof() == nil:
				say("has left %s", old.ContainingOneof().Name())
			case old.ContainingOneof() == nil && f.ContainingOneof() != nil:
				say("has come into %s", f.ContainingOneof().Name())
			}
		}
		out = slices.Concat(out, brokenMessages(was.Messages(), is.Messages()), brokenEnums(was.Enums(), is.Enums()))
	}
	return out
}

func brokenEnums(then, now protoreflect.EnumDescriptors) (out []string) {
	for i := range then.Len() {
		was := then.Get(i)
		is := now.ByName(was.Name())
		if is == nil {
			out = append(out, string(was.FullName())+" is gone")
			continue
		}
		for i := range was.Values().Len() {
			old := was.Values().Get(i)
			switch v := is.Values().ByNumber(old.Number()); {
			case v == nil:
				out = append(out, fmt.Sprintf("%s (%d) is gone", old.FullName(), old.Number()))
			case v.Name() != old.Name():
				out = append(out, fmt.Sprintf("%s (%d) is called %s now", old.FullName(), old.Number(), v.Name()))
			}
		}
	}
	return out
}

// typeOf is what a field holds.
func typeOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return fmt.Sprintf("map of %s to %s", typeOf(f.MapKey()), typeOf(f.MapValue()))
	}
	kind := f.Kind().String()
	if m := f.Message(); m != nil {
		kind = string(m.FullName())
	}
	if e := f.Enum(); e != nil {
		kind = string(e.FullName())
	}
	if f.IsList() {
		return "repeated " + kind
	}
	return kind
}

// methodOf is what a method takes and gives. One without effects can be asked by GET, too.
func methodOf(m protoreflect.MethodDescriptor) string {
	stream := map[bool]string{true: "stream "}
	s := fmt.Sprintf("%s%s to %s%s", stream[m.IsStreamingClient()], m.Input().FullName(), stream[m.IsStreamingServer()], m.Output().FullName())
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		s += ", without effects"
	}
	return s
}
