# bash completion for seek(1)

_seek() {
        local word=$2 previous=$3 command=${COMP_WORDS[1]}
        local generation='--max-tokens --temperature --top-k --top-p --min-p --seed --stop --class --special --stats
                --json --socket --help'
        local conversation='--system --think --no-think --effort --tools --tool-choice --schema'
        if ((COMP_CWORD == 1)); then
                COMPREPLY=($(compgen -W 'complete fim chat ask tokenize status --help --version' -- "$word"))
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
        --socket | --prefix-file | --suffix-file | --tools | --schema)
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
                return
                ;;
        --max-tokens | --temperature | --top-k | --top-p | --min-p | --seed | --stop | --line | --column | \
                --marker | --system | --effort)
                return
                ;;
        esac
        if [[ $word == -* ]]; then
                local options
                case $command in
                complete) options=$generation ;;
                ask | chat) options="$generation $conversation" ;;
                fim) options="$generation --line --column --marker --prefix-file --suffix-file" ;;
                tokenize) options='--decode --special --bos --json --socket --help' ;;
                status) options='--json --socket --help' ;;
                esac
                COMPREPLY=($(compgen -W "$options" -- "$word"))
        elif [[ $command != status && $command != ask && $command != chat ]]; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
        fi
}

complete -F _seek seek
