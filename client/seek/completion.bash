# bash completion for seek(1)

_seek() {
        local word=$2 previous=$3 command=${COMP_WORDS[1]}
        local generation='--max-tokens --temperature --top-k --top-p --min-p --seed --stop --class --special --stats
                --json --socket --help'
        local conversation='--system --think --no-think --effort --tools --tool-choice --schema'
        if ((COMP_CWORD == 1)); then
                COMPREPLY=($(compgen -W 'complete fim chat ask tokenize hint sessions cache import status top metrics --help --version' -- "$word"))
                return
        fi
        if [[ $command == sessions && $word != -* && $COMP_CWORD == 2 ]]; then
                COMPREPLY=($(compgen -W 'list open append fork rewind pin unpin close remember recall' -- "$word"))
                return
        fi
        if [[ $command == cache && $word != -* && $COMP_CWORD == 2 ]]; then
                COMPREPLY=($(compgen -W 'list verify pin unpin purge export' -- "$word"))
                return
        fi
        if [[ $previous == --user ]]; then
                COMPREPLY=($(compgen -u -- "$word"))
                return
        fi
        if [[ $command == cache && $word != -* && $COMP_CWORD == 3 && $previous == *pin || $previous == --session || $previous == --with || $command == sessions && $COMP_CWORD == 3 && $word != -* ]]; then
                COMPREPLY=($(compgen -W "$(seek sessions list 2>/dev/null | cut -d' ' -f1)" -- "$word"))
                return
        fi
        case $previous in
        --class)
                COMPREPLY=($(compgen -W 'interactive turn agent background' -- "$word"))
                return
                ;;
        --tool-choice)
                COMPREPLY=($(compgen -W 'auto none required' -- "$word"))
                return
                ;;
        --output | --socket | --prefix-file | --suffix-file | --tools | --schema)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
                ;;
        --interval | --at | --subject | --max-tokens | --temperature | --top-k | --top-p | --min-p | --seed | --stop | --line | --column | \
                --marker | --system | --effort)
                return
                ;;
        esac
        if [[ $word == -* ]]; then
                local options
                case $command in
                complete) options="$generation --session" ;;
                sessions) options='--all --at --forget --ids --subject --with --json --socket --help' ;;
                ask | chat) options="$generation $conversation" ;;
                fim) options="$generation --line --column --marker --prefix-file --suffix-file" ;;
                hint) options='--session --special --json --socket --help' ;;
                tokenize) options='--decode --special --bos --json --socket --help' ;;
                cache) options='--user --json --socket --help' ;;
                import | status) options='--json --socket --help' ;;
                metrics) options='--output --socket --help' ;;
                top) options='--interval --once --json --socket --help' ;;
                esac
                COMPREPLY=($(compgen -W "$options" -- "$word"))
        elif [[ $command != status && $command != top && $command != metrics && $command != cache && $command != import && $command != ask && $command != chat ]]; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
        fi
}

complete -F _seek seek
