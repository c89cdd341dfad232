// Command streaming serves `kubectl exec` and `kubectl port-forward` for one node.
//
// It answers the CRI calls Exec and PortForward on a socket with a URL, and serves that URL with the streaming
// protocols of Kubernetes' own library. What then runs are the helper programs given on the command line: one enters
// a container, one connects to a port of a pod. Attach is not supported.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

type service struct {
	cri.UnimplementedRuntimeServiceServer
	streaming.Server
}

func (s *service) Exec(_ context.Context, request *cri.ExecRequest) (*cri.ExecResponse, error) {
	return s.GetExec(request)
}

func (s *service) PortForward(_ context.Context, request *cri.PortForwardRequest) (*cri.PortForwardResponse, error) {
	return s.GetPortForward(request)
}

type runtime struct {
	containers  string
	enter       []string
	portForward []string
}

func (r *runtime) Exec(ctx context.Context, id string, argv []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, _ <-chan remotecommand.TerminalSize) error {
	terminal := "0"
	if tty {
		terminal = "1"
	}
	helper := []string{filepath.Join(r.containers, id), terminal, "--"}
	return run(ctx, slices.Concat(r.enter, helper, argv), in, out, errOut)
}

func (r *runtime) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool,
	<-chan remotecommand.TerminalSize) error {
	return errors.New("attach is not supported; use kubectl logs -f or kubectl exec")
}

func (r *runtime) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	argv := slices.Concat(r.portForward, []string{"/run/netns/" + id, strconv.Itoa(int(port))})
	return run(ctx, argv, stream, stream, os.Stderr)
}

// run does not wait for the end of the client's input: a program may end while its user still types.
func run(ctx context.Context, argv []string, in io.Reader, out, errOut io.Writer) error {
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdout, command.Stderr = out, errOut
	if in != nil {
		input, err := command.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			defer input.Close()
			_, _ = io.Copy(input, in)
		}()
	}
	err := command.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}

func main() {
	socket := flag.String("socket", "", "Unix socket for the CRI calls")
	containers := flag.String("containers", "", "folder with one sub-folder for each container")
	enter := flag.String("enter", "", "program that enters a container, with its arguments")
	portForward := flag.String("port-forward", "", "program that connects to a pod's port, with its arguments")
	flag.Parse()

	config := streaming.DefaultConfig
	config.Addr = "127.0.0.1:0"
	streams, err := streaming.NewServer(config, &runtime{
		containers: *containers, enter: strings.Fields(*enter), portForward: strings.Fields(*portForward),
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(streams.Start(true)) }()

	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, &service{Server: streams})
	log.Fatal(server.Serve(listener))
}
